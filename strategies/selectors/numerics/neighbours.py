"""Distances to near rows, without a matrix of all pairs.

Neighbours are found by scikit-learn; their distances are then worked out by differences, which unlike its
matrix products lose no digits.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from strategies.selectors.rules.checks import FloatArray, IntArray

_FEW_COLUMNS = 8  # up to which a tree is faster
_CHUNK_VALUES = 1 << 22


def mean_nearest(points: FloatArray, count: int) -> FloatArray:
    """Mean distance of each row of `points` (n, D) to its min(count, n - 1) nearest others; 0 for n = 1."""
    count = min(count, len(points) - 1)
    total = np.zeros(len(points))
    if count < 1:
        return total
    near = _finder(points, count)
    with threadpool_limits(limits=1):
        found = near.kneighbors(return_distance=False)  # a row is no neighbour of itself
    for column in range(count):
        total += paired(points, points, found[:, column])
    return total / count


def nearest_other(points: FloatArray, labels: IntArray) -> FloatArray:
    """Distance of each row of `points` (n, D) to the nearest row with another label; inf without one."""
    nearest = np.full(len(points), np.inf)
    for label in np.unique(labels):
        own = labels == label
        if own.all():
            break
        others = points[~own]
        with threadpool_limits(limits=1):
            found = _finder(others, 1).kneighbors(points[own], return_distance=False)
        nearest[own] = paired(points[own], others, found[:, 0])
    return nearest


def count_within(points: FloatArray, others: FloatArray, radius: float) -> IntArray:
    """At least as many rows of `others` (m, D) as lie within `radius` of each row of `points`: (n,).

    An upper bound: it counts a little beyond the radius, since its arithmetic is not that of `distances`.
    """
    if points.shape[1] <= _FEW_COLUMNS:
        tree = cKDTree(others)
        found = tree.query_ball_point(points, radius * (1 + 1e-9), return_length=True, workers=1)
        return np.asarray(found, dtype=np.int64)
    counts = np.zeros(len(points), dtype=np.int64)
    middle = others.mean(axis=0)
    a, b = points - middle, others - middle
    inner, outer = np.einsum("ij,ij->i", a, a), np.einsum("ij,ij->i", b, b)
    slack = 1e-9 * (radius * radius + inner.max(initial=0.0) + outer.max(initial=0.0))
    step = max(1, _CHUNK_VALUES // max(1, len(others)))
    with threadpool_limits(limits=1):
        for at in range(0, len(a), step):
            part = slice(at, at + step)
            squared = inner[part, None] + outer - 2.0 * (a[part] @ b.T)
            counts[part] = (squared <= radius * radius + slack).sum(axis=1)
    return counts


def paired(points: FloatArray, others: FloatArray, index: IntArray) -> FloatArray:
    """Distance of row i of `points` (n, D) to row index[i] of `others`: (n,), in bounded memory."""
    reach = np.zeros(len(points))
    step = max(1, _CHUNK_VALUES // points.shape[1])
    for at in range(0, len(points), step):
        part = slice(at, at + step)
        difference = points[part] - others[index[part]]
        reach[part] = np.sqrt((difference * difference).sum(axis=1))
    return reach


def _finder(points: FloatArray, count: int) -> NearestNeighbors:
    way = "kd_tree" if points.shape[1] <= _FEW_COLUMNS else "brute"
    return NearestNeighbors(n_neighbors=count, algorithm=way, n_jobs=1).fit(points)
