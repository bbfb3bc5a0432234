"""Agglomerative clusters, and the row of each with the highest information density."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.cluster import AgglomerativeClustering, Birch
from sklearn.metrics import pairwise_distances_argmin
from threadpoolctl import threadpool_limits

from strategies.selectors.numerics.cluster import count_distinct, numbered_by_size
from strategies.selectors.numerics.distances import dissimilarity
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

MAX_EXACT = 4_000  # rows that are merged pair by pair; their distances take 64 MB
_TRIES = 10  # radii


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
    """Agglomerative clustering to budget clusters, and the candidate of each with the highest density.

    CALR, Jin et al., "Cold-start active learning for image classification", Information Sciences 616, 2022,
    as CSAL-3D (MICCAI 2025) compares it; see `docs/selection.md`. The information density of a row is its
    mean cosine similarity to the other unlabelled rows of its cluster, 1 for a lone row; a row of zeros is
    similar to none. Up to 4,000 rows the clusters are Ward's, above that Birch's, whose few thousand
    subclusters are merged by Ward. Where Birch finds too few or too many of them (rows that all lie about
    equally far apart), Ward clusters a seeded sample of 4,000 rows and the others join the nearest mean.
    Above 4,000 rows there are 4,000 clusters at most. Largest cluster first, ties to the lowest label, then
    to the lowest row. With fewer clusters than picks, each gives another in turn.

    Args:
        features, budget, labelled, candidates, groups, labels: as in `kmeans_to_budget`.
        seed: of the samples that Birch's threshold is chosen by and that Ward clusters.

    Returns:
        Evidence: `role` ("densest", or "runner-up"), `cluster`, `cluster_size` and `density`.

    Raises:
        ValueError: features, labels, budget, groups or row numbers out of range (see `checks`).
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
    """Labels (N,) of at most `k` clusters, numbered by falling size, then by their lowest row."""
    k = min(k, count_distinct(points, k)) if k < len(points) else len(np.unique(points, axis=0))
    if k < 2:
        return np.zeros(len(points), dtype=np.int64)
    with threadpool_limits(limits=1):
        if len(points) <= MAX_EXACT:
            return numbered_by_size(_ward(points, k))
        k = min(k, MAX_EXACT)
        if tree := _birch(points, k, seed):
            return numbered_by_size(_ward(tree.subcluster_centers_, k)[tree.labels_])
        return numbered_by_size(_by_sample(points, k, seed))


def _ward(points: FloatArray, k: int) -> IntArray:
    return AgglomerativeClustering(n_clusters=k).fit_predict(points).astype(np.int64)


def _birch(points: FloatArray, k: int, seed: int) -> Birch | None:
    """A tree with k to `MAX_EXACT` subclusters; None when none of ten radii gives that.

    In many dimensions all rows may lie about equally far apart: then a hair's breadth of the radius decides
    between one subcluster and one for each row.
    """
    radius, low, high = _threshold(points, max(k, MAX_EXACT // 4), seed), 0.0, np.inf
    for _ in range(_TRIES):
        tree = Birch(threshold=radius, n_clusters=None).fit(points)
        count = len(tree.subcluster_centers_)
        if k <= count <= MAX_EXACT:
            return tree
        low, high = (radius, high) if count > MAX_EXACT else (low, radius)
        radius = 2 * radius if np.isinf(high) else (low + high) / 2
    return None


def _by_sample(points: FloatArray, k: int, seed: int) -> IntArray:
    """Ward's clusters of `MAX_EXACT` rows drawn at random; every row joins the nearest of their means."""
    drawn = np.random.default_rng(seed).choice(len(points), MAX_EXACT, replace=False)
    sample = points[np.sort(drawn)]
    found = _ward(sample, min(k, count_distinct(sample, k)))
    means = np.stack([sample[found == label].mean(axis=0) for label in range(found.max() + 1)])
    return pairwise_distances_argmin(points, means).astype(np.int64)


def _threshold(points: FloatArray, most: int, seed: int) -> float:
    """The smallest of some radii with which a sample of `MAX_EXACT` rows has at most `most` subclusters."""
    sample = points[np.random.default_rng(seed).choice(len(points), MAX_EXACT, replace=False)]
    radius = float(np.sqrt(sample.var(axis=0).sum())) / 64 or 1.0
    while len(Birch(threshold=radius, n_clusters=None).fit(sample).subcluster_centers_) > most:
        radius *= 1.5
    return radius
