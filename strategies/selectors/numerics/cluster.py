"""k-means with the number of clusters chosen by silhouette."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.kmeans import kmeans_labels
from strategies.selectors.numerics.silhouette import mean_silhouettes
from strategies.selectors.rules.checks import FloatArray, IntArray, check_budget, check_points

MAX_CLUSTERS = 20
MANY_POINTS = 10_000


@dataclass(frozen=True, eq=False)
class Clustering:
    """A clustering, with the silhouettes of all that were tried.

    Attributes:
        labels: (N,) int64, clusters numbered by decreasing size, then by lowest row.
        silhouettes: k -> mean silhouette, for each k tried; empty if there is only one cluster.
        k: number of clusters; 0 for no rows.
    """

    labels: IntArray
    silhouettes: dict[int, float]
    k: int


def cluster_by_silhouette(points: npt.ArrayLike, max_clusters: int, seed: int) -> Clustering:
    """Run k-means for each k >= 2 and keep the k with the highest mean silhouette; ties go to the lowest k.

    Levy et al., arXiv 2601.18532, section 3.1.3, equation (1); see `docs/selection.md`. k runs to the lowest
    of `max_clusters` (the budget), N - 1, 20 and the number of distinct points. k-means++ with 10 starts up
    to 10,000 points, one start above. With `max_clusters` below 2, N below 3 or fewer than two distinct
    points there is one cluster. To judge a silhouette, see `silhouette_null`.

    Args:
        points: (N, D), a map or raw features.
        max_clusters: maximum number of clusters, at least 0.
        seed: seed of k-means.

    Raises:
        ValueError: points that are not finite, or a negative `max_clusters`.
    """
    array = check_points(points)
    n_init = 10 if len(array) <= MANY_POINTS else 1
    tried = labellings(array, check_budget(max_clusters), seed, n_init)
    if not tried:
        return Clustering(np.zeros(len(array), dtype=np.int64), {}, min(1, len(array)))
    silhouettes = {k: score for k, (_, score) in tried.items()}
    best = max(silhouettes, key=lambda k: (silhouettes[k], -k))
    return Clustering(numbered_by_size(tried[best][0]), silhouettes, best)


def labellings(
    points: FloatArray, max_clusters: int, seed: int, n_init: int
) -> dict[int, tuple[IntArray, float]]:
    """Return k -> (labels (N,), mean silhouette) for each feasible k, without input checks."""
    tried = kmeans_sweep(points, max_clusters, seed, n_init)
    scores = mean_silhouettes(points, list(tried.values()))
    return {k: (labels, score) for (k, labels), score in zip(tried.items(), scores, strict=True)}


def kmeans_sweep(points: FloatArray, max_clusters: int, seed: int, n_init: int) -> dict[int, IntArray]:
    """Return k -> labels (N,) for each feasible k >= 2, without input checks."""
    tried: dict[int, IntArray] = {}
    max_k = min(max_clusters, len(points) - 1, MAX_CLUSTERS)
    for k in range(2, count_distinct(points, max_k) + 1):
        labels = kmeans_labels(points, k, n_init, seed)
        if len(np.unique(labels)) == k:  # fewer: points too close for k-means to tell apart
            tried[k] = labels
    return tried


def count_distinct(points: FloatArray, limit: int) -> int:
    """Count distinct rows, up to `limit`."""
    left = np.ones(len(points), dtype=bool)
    count = 0
    while count < limit and left.any():
        left &= (points != points[np.argmax(left)]).any(axis=1)
        count += 1
    return count


def numbered_by_size(labels: IntArray) -> IntArray:
    """Renumber clusters by decreasing size, then by lowest row."""
    _, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    number = np.empty(len(sizes), dtype=np.int64)
    number[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return number[inverse]
