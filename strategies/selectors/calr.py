"""Agglomerative clustering, and the row of highest information density in each cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from strategies.selectors.numerics.cluster import count_distinct, numbered_by_size
from strategies.selectors.numerics.distances import dissimilarity
from strategies.selectors.registry import CSAL, method
from strategies.selectors.rules.checks import (
    FloatArray,
    Groups,
    IntArray,
    RowNumbers,
    check_budget,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.turns import by_score, cluster_rows, largest_first, take_turns

if TYPE_CHECKING:
    from sklearn.cluster import Birch

MAX_EXACT = 4_000  # rows merged pairwise; their distances take 64 MB
_MAX_RADII = 10  # radii tried for Birch


@method(
    "calr",
    paper="Jin et al., Information Sciences 616, 2022; " + CSAL,
    needs="features",
    text="Agglomerative clusters, the image with the highest information density in each",
    reason="{role} of cluster {cluster} of {cluster_size} images (mean cosine similarity to them "
    "{density:.3f}).",
)
def calr(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
) -> Selection:
    """Cluster agglomeratively into `budget` clusters and pick the densest candidate of each.

    CALR, Jin et al., "Cold-start active learning for image classification", Information Sciences 616, 2022,
    as compared in CSAL-3D (MICCAI 2025); see `docs/selection.md`. The information density of a row is its
    mean cosine similarity to the other unlabelled rows of its cluster, 1 for a lone row; a row of zeros is
    similar to none. Up to 4,000 rows, clusters are Ward's; above, Ward merges Birch's few thousand
    subclusters. If Birch finds too few or too many of those (rows all about equally far apart), Ward clusters
    a seeded sample of 4,000 rows and the others join the nearest mean. Above 4,000 rows there are at most
    4,000 clusters. Largest cluster first; ties go to the lowest label, then to the lowest row. With fewer
    clusters than picks, clusters take turns.

    Args:
        features, budget, labelled, candidates, groups, labels: as in `kmeans_to_budget`.
        seed: seed of the samples used to choose Birch's threshold and clustered by Ward.

    Returns:
        Evidence: `role` ("densest", or "runner-up"), `cluster`, `cluster_size` and `density`.

    Raises:
        ValueError: invalid features, labels, budget, groups or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    cluster_of = cluster_rows(array, rows, budget, seed, labels, agglomerate)
    clusters = largest_first(cluster_of, rows.unlabelled) if count else []
    density = np.zeros(len(array))
    for members in clusters:
        density[members] = 1.0 - dissimilarity(array[members])
    turns = take_turns(clusters, cluster_of, rows, count, by_score(density, scale=1.0))
    evidence = {
        "role": turns.role("densest"),
        "cluster": turns.cluster,
        "cluster_size": turns.size,
        "density": density[turns.picks],
    }
    return Selection(turns.picks, evidence)


def agglomerate(points: FloatArray, k: int, seed: int) -> IntArray:
    """Return labels (N,) of at most `k` clusters, numbered by decreasing size, then by lowest row."""
    import sklearn.cluster  # noqa: F401 - before the limit, which holds for imported libraries only

    k = min(k, count_distinct(points, k)) if k < len(points) else len(np.unique(points, axis=0))
    if k < 2:
        return np.zeros(len(points), dtype=np.int64)
    with threadpool_limits(limits=1):
        if len(points) <= MAX_EXACT:
            return numbered_by_size(_ward(points, k))
        k = min(k, MAX_EXACT)
        if tree := _birch(points, k, seed):
            return numbered_by_size(_ward(tree.subcluster_centers_, k)[tree.labels_])
        return numbered_by_size(_ward_on_sample(points, k, seed))


def _ward(points: FloatArray, k: int) -> IntArray:
    from sklearn.cluster import AgglomerativeClustering  # slow to import

    return AgglomerativeClustering(n_clusters=k).fit_predict(points).astype(np.int64)


def _birch(points: FloatArray, k: int, seed: int) -> Birch | None:
    """Return a tree with k to `MAX_EXACT` subclusters, or None if none of ten radii gives one.

    In many dimensions all rows may be about equally far apart: then a tiny change of the radius decides
    between one subcluster and one per row.
    """
    from sklearn.cluster import Birch

    radius, low, high = _birch_threshold(points, max(k, MAX_EXACT // 4), seed), 0.0, np.inf
    for _ in range(_MAX_RADII):
        tree = Birch(threshold=radius, n_clusters=None).fit(points)
        count = len(tree.subcluster_centers_)
        if k <= count <= MAX_EXACT:
            return tree
        low, high = (radius, high) if count > MAX_EXACT else (low, radius)
        radius = 2 * radius if np.isinf(high) else (low + high) / 2
    return None


def _ward_on_sample(points: FloatArray, k: int, seed: int) -> IntArray:
    """Cluster `MAX_EXACT` random rows by Ward; every row joins the nearest cluster mean."""
    from sklearn.metrics import pairwise_distances_argmin

    drawn = np.random.default_rng(seed).choice(len(points), MAX_EXACT, replace=False)
    sample = points[np.sort(drawn)]
    labels = _ward(sample, min(k, count_distinct(sample, k)))
    means = np.stack([sample[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    return pairwise_distances_argmin(points, means).astype(np.int64)


def _birch_threshold(points: FloatArray, max_subclusters: int, seed: int) -> float:
    """Return the smallest tested radius at which `MAX_EXACT` sampled rows form few enough subclusters."""
    from sklearn.cluster import Birch

    sample = points[np.random.default_rng(seed).choice(len(points), MAX_EXACT, replace=False)]
    radius = float(np.sqrt(sample.var(axis=0).sum())) / 64 or 1.0
    while len(Birch(threshold=radius, n_clusters=None).fit(sample).subcluster_centers_) > max_subclusters:
        radius *= 1.5
    return radius
