"""Agglomerative clusters, and the row of each with the highest information density."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.cluster import AgglomerativeClustering, Birch
from threadpoolctl import threadpool_limits

from strategies.selectors.checks import (
    FloatArray,
    IntArray,
    RowNumbers,
    check_budget,
    check_points,
    check_rows,
)
from strategies.selectors.cluster import count_distinct, numbered_by_size
from strategies.selectors.distances import dissimilarity
from strategies.selectors.selection import Selection
from strategies.selectors.turns import by_score, cluster_rows, largest_first, take_turns

MOST_EXACT = 4_000  # rows that are merged pair by pair; their distances take 64 MB


def calr(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
) -> Selection:
    """Agglomerative clustering to budget clusters, and the candidate of each with the highest density.

    CALR, Jin et al., "Cold-start active learning for image classification", Information Sciences 616, 2022,
    as CSAL-3D (MICCAI 2025) compares it; see `docs/selection.md`. The information density of a row is its
    mean cosine similarity to the other unlabelled rows of its cluster, 1 for a lone row; a row of zeros is
    similar to none. Up to 4,000 rows the clusters are Ward's, above that Birch's, whose few thousand
    subclusters are merged by Ward. Largest cluster first, ties to the lowest label, then to the lowest row.
    With fewer clusters than picks, each gives another in turn.

    Args:
        features, budget, labelled, candidates, labels: as in `kmeans_to_budget`.
        seed: of the sample by which Birch's threshold is chosen.

    Returns:
        Evidence: `role` ("densest", or "runner-up"), `cluster`, `cluster_size` and `density`.

    Raises:
        ValueError: features, labels, budget or row numbers out of range (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates)
    count = min(check_budget(budget), len(rows.candidates))
    groups = cluster_rows(array, rows, budget, seed, labels, agglomerate)
    clusters = largest_first(groups, rows.unlabelled) if count else []
    density = np.zeros(len(array))
    for members in clusters:
        density[members] = 1.0 - dissimilarity(array[members])
    turns = take_turns(clusters, groups, rows.candidates, count, by_score(density, scale=1.0))
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
    merge = AgglomerativeClustering(n_clusters=k)
    with threadpool_limits(limits=1):
        if len(points) <= MOST_EXACT:
            return numbered_by_size(merge.fit_predict(points).astype(np.int64))
        threshold = _threshold(points, max(k, MOST_EXACT // 4), seed)
        tree = Birch(threshold=threshold, n_clusters=None).fit(points)
        while not k <= len(tree.subcluster_centers_) <= max(k, MOST_EXACT):
            threshold *= 2.0 if len(tree.subcluster_centers_) > k else 0.5
            tree = Birch(threshold=threshold, n_clusters=None).fit(points)
        merged = merge.fit_predict(tree.subcluster_centers_)
    return numbered_by_size(merged[tree.labels_].astype(np.int64))


def _threshold(points: FloatArray, most: int, seed: int) -> float:
    """The smallest of some radii with which a sample of `MOST_EXACT` rows has at most `most` subclusters."""
    sample = points[np.random.default_rng(seed).choice(len(points), MOST_EXACT, replace=False)]
    radius = float(np.sqrt(sample.var(axis=0).sum())) / 64 or 1.0
    while len(Birch(threshold=radius, n_clusters=None).fit(sample).subcluster_centers_) > most:
        radius *= 1.5
    return radius
