"""The largest distance between two points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from strategies.selectors.numerics.distances import (
    FEW_COLUMNS,
    distances,
    products_error,
    squared_by_products,
)
from strategies.selectors.rules.checks import FloatArray, check_points

_CHUNK_VALUES = 1 << 22


def diameter(points: npt.ArrayLike) -> float:
    """Return the exact largest Euclidean distance between two rows; 0 for fewer than two.

    This is D_max of Levy et al., arXiv 2601.18532, equation (9). In two dimensions only vertices of the
    convex hull can be that far apart; otherwise, and for collinear points, rows too near the middle are
    dropped first, and among many columns those that matrix products rule out. Pairs are compared in chunks
    to bound memory.

    Args:
        points: (N, D).

    Raises:
        ValueError: points that are not finite, or not two-dimensional as an array.
    """
    array = check_points(points)
    if len(array) < 2:
        return 0.0
    outer = _outer_rows(array)
    return _largest_pair(outer if array.shape[1] < FEW_COLUMNS else _possible_ends(outer))


def _outer_rows(points: FloatArray) -> FloatArray:
    """Return a subset of rows (M, D) that contains both ends of the largest distance."""
    from scipy.spatial import ConvexHull, QhullError  # slow to import

    if points.shape[1] == 2 and len(points) > 3:
        try:
            return np.asarray(points[ConvexHull(points).vertices], dtype=np.float64)
        except QhullError:
            pass  # collinear or nearly identical
    return _far_from_middle(points)


def _far_from_middle(points: FloatArray) -> FloatArray:
    """Return the distinct rows that can be an end of the largest distance.

    Let d be the distance of some two rows, m any position and r the largest distance to it. Ends of a
    distance of at least d are at least d - r away from m.
    """
    one = points[np.argmax(distances(points, points.mean(axis=0)))]
    from_one = distances(points, one)
    reach = distances(points, (one + points[np.argmax(from_one)]) / 2)
    outer = points[reach >= (from_one.max() - reach.max()) * (1 - 1e-9)]
    return np.asarray(np.unique(outer, axis=0), dtype=np.float64)


def _possible_ends(points: FloatArray) -> FloatArray:
    """Return the rows whose largest distance to another may be the largest of all."""
    centred = points - points.mean(axis=0)
    farthest = np.zeros(len(points))  # squared, but for the error of products
    step = max(1, _CHUNK_VALUES // len(points))
    with threadpool_limits(limits=1):
        for at in range(0, len(points), step):
            squared = squared_by_products(centred[at : at + step], centred[at:])
            np.maximum(farthest[at:], squared.max(axis=0), out=farthest[at:])
            rows = farthest[at : at + step]
            np.maximum(rows, squared.max(axis=1), out=rows)
    return points[farthest >= farthest.max() - 2.0 * products_error(centred)]


def _largest_pair(points: FloatArray) -> float:
    from scipy.spatial.distance import cdist  # slow to import

    step = max(1, _CHUNK_VALUES // len(points))
    return float(max(cdist(points[at : at + step], points).max() for at in range(0, len(points), step)))
