"""Distances to near rows, without a matrix of all pairs.

scikit-learn finds the neighbours; their distances are then computed from differences, which unlike its matrix
products lose no digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from strategies.selectors.numerics.distances import products_error, squared_by_products
from strategies.selectors.rules.checks import FloatArray, IntArray

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

_FEW_COLUMNS = 8  # a tree is faster up to here
_CHUNK_VALUES = 1 << 22


def mean_nearest(points: FloatArray, count: int) -> FloatArray:
    """Return each row's mean distance (n,) to its min(count, n - 1) nearest others; 0 for a lone row."""
    neighbours = nearest_rows(points, count)
    total = np.zeros(len(points))
    for column in range(neighbours.shape[1]):
        total += paired(points, points, neighbours[:, column])
    return total / max(1, neighbours.shape[1])


def nearest_rows(points: FloatArray, count: int) -> IntArray:
    """Return the numbers (n, min(count, n - 1)) of the rows nearest to each row of `points` (n, D)."""
    count = min(count, len(points) - 1)
    if count < 1:
        return np.zeros((len(points), 0), dtype=np.int64)
    near = _neighbour_search(points, count)  # first: the limit holds for libraries that are imported
    with threadpool_limits(limits=1):
        neighbours = near.kneighbors(return_distance=False)  # excludes the row itself
    return np.asarray(neighbours, dtype=np.int64)


def nearest_other(points: FloatArray, labels: IntArray) -> FloatArray:
    """Return the distance of each of `points` (n, D) to the nearest with another label; inf if none."""
    nearest = np.full(len(points), np.inf)
    for label in np.unique(labels):
        own = labels == label
        if own.all():
            break
        others = points[~own]
        near = _neighbour_search(others, 1)  # first: the limit holds for libraries that are imported
        with threadpool_limits(limits=1):
            neighbours = near.kneighbors(points[own], return_distance=False)
        nearest[own] = paired(points[own], others, neighbours[:, 0])
    return nearest


def count_within(points: FloatArray, others: FloatArray, radius: float) -> IntArray:
    """Return an upper bound on the number of `others` (m, D) within `radius` of each of `points`: (n,).

    It counts slightly beyond the radius, since its arithmetic differs from that of `distances`.
    """
    if points.shape[1] <= _FEW_COLUMNS:
        from scipy.spatial import cKDTree  # slow to import

        tree = cKDTree(others)
        counted = tree.query_ball_point(points, radius * (1 + 1e-9), return_length=True, workers=1)
        return np.asarray(counted, dtype=np.int64)
    counts = np.zeros(len(points), dtype=np.int64)
    middle = others.mean(axis=0)
    a, b = points - middle, others - middle
    limit = radius * radius * (1 + 1e-9) + products_error(a) + products_error(b)
    step = max(1, _CHUNK_VALUES // max(1, len(others)))
    with threadpool_limits(limits=1):
        for at in range(0, len(a), step):
            part = slice(at, at + step)
            counts[part] = (squared_by_products(a[part], b) <= limit).sum(axis=1)
    return counts


def paired(points: FloatArray, others: FloatArray, index: IntArray) -> FloatArray:
    """Return the distance (n,) of row i of `points` (n, D) to row index[i] of `others`, in bounded memory."""
    reach = np.zeros(len(points))
    step = max(1, _CHUNK_VALUES // points.shape[1])
    for at in range(0, len(points), step):
        part = slice(at, at + step)
        difference = points[part] - others[index[part]]
        reach[part] = np.sqrt((difference * difference).sum(axis=1))
    return reach


def _neighbour_search(points: FloatArray, count: int) -> NearestNeighbors:
    from sklearn.neighbors import NearestNeighbors  # slow to import

    algorithm = "kd_tree" if points.shape[1] <= _FEW_COLUMNS else "brute"
    return NearestNeighbors(n_neighbors=count, algorithm=algorithm, n_jobs=1).fit(points)
