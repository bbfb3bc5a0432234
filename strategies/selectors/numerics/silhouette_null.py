"""Silhouette that points without clusters would reach."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.cluster import labellings
from strategies.selectors.rules.checks import FloatArray, check_budget, check_points

MAX_POINTS = 500
_STARTS = 3


def silhouette_null(points: npt.ArrayLike, max_clusters: int, seed: int, draws: int = 20) -> float:
    """Return the 95th percentile of the best mean silhouette of `draws` uniform samples in the convex hull.

    k-means finds "clusters" in uniform noise too (on 110 points a best silhouette of 0.40 to 0.44), so a map
    whose silhouette is below this value has no clear clusters. It informs the reader and changes no pick;
    Levy et al., arXiv 2601.18532, equation (1) has no such test. See `docs/selection.md`.

    Each sample has as many points as the map, at most 500 (fewer points reach higher silhouettes, so the cap
    makes the test stricter), with 3 starts of k-means. k runs as in `cluster_by_silhouette`.

    Args:
        points: (N, 2), a map.
        max_clusters: as given to `cluster_by_silhouette`.
        seed: seed of the samples and of k-means.
        draws: number of samples, at least 1.

    Returns:
        The percentile; NaN where it is meaningless: not two columns, collinear points, or only one cluster.

    Raises:
        ValueError: points that are not finite, a negative `max_clusters`, or `draws` below 1.
    """
    from scipy.spatial import ConvexHull, Delaunay, QhullError  # slow to import

    array = check_points(points)
    max_k = check_budget(max_clusters)
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    if array.shape[1] != 2 or len(array) < 3 or max_k < 2:
        return float("nan")
    try:
        corners = array[ConvexHull(array).vertices]
        triangles = corners[Delaunay(corners).simplices]
    except QhullError:
        return float("nan")
    rng = np.random.default_rng(seed)
    best = [
        _best_silhouette(_draw_uniform(triangles, min(len(array), MAX_POINTS), rng), max_k, seed)
        for _ in range(draws)
    ]
    return float(np.percentile(best, 95))


def _best_silhouette(points: FloatArray, max_clusters: int, seed: int) -> float:
    return max(score for _, score in labellings(points, max_clusters, seed, _STARTS).values())


def _draw_uniform(triangles: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """Draw `count` points (count, 2) uniformly from the union of `triangles` (T, 3, 2)."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    area = np.abs((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]))
    chosen = rng.choice(len(triangles), size=count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    over = u + v > 1  # fold the other half of the parallelogram back
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    return np.asarray(a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen], dtype=np.float64)
