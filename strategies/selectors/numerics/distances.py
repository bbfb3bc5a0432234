"""Euclidean distances, always by the same arithmetic, so that ties are ties on every machine."""

from __future__ import annotations

import numpy as np

from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import FloatArray, IntArray

_FEW_COLUMNS = 8
_CHUNK_VALUES = 1 << 22
# Relative difference below which two sums of distances are the same number but for rounding.
ROUNDING = 1e-12


def distances(points: FloatArray, centre: FloatArray) -> FloatArray:
    """Distance of each row of `points` (N, D) to `centre` (D,): (N,). Memory beside the result: bounded."""
    squared = np.zeros(len(points))
    if points.shape[1] < _FEW_COLUMNS:
        for column in range(points.shape[1]):
            difference = points[:, column] - centre[column]
            squared += difference * difference
        return np.sqrt(squared)
    step = max(1, _CHUNK_VALUES // points.shape[1])
    for start in range(0, len(points), step):
        block = points[start : start + step] - centre
        squared[start : start + step] = (block * block).sum(axis=1)
    return np.sqrt(squared)


def nearest_distance(points: FloatArray, others: FloatArray) -> FloatArray:
    """Distance of each row of `points` (N, D) to the nearest row of `others` (M, D): (N,); inf for M = 0."""
    nearest = np.full(len(points), np.inf)
    for other in others:
        np.minimum(nearest, distances(points, other), out=nearest)
    return nearest


def first_smallest(values: FloatArray) -> int:
    """Index of the smallest of `values` (N >= 1, none negative); the first of those that tie.

    Values that differ by rounding only tie: else the machine's arithmetic would decide.
    """
    return int(np.argmax(values <= values.min() * (1 + ROUNDING)))


def first_largest(values: FloatArray, scale: float = 0.0) -> int:
    """Index of the largest of `values` (N >= 1); the first of those that tie but for rounding.

    `scale` is the size of the terms that the values were added up from, where these cancel.
    """
    size = max(scale, float(np.abs(values).max()))
    return int(np.argmax(values >= values.max() - ROUNDING * size))


def unit_rows(points: FloatArray) -> FloatArray:
    """Each row of `points` (N, D) divided by its length; a row of zeros stays as it is."""
    length = np.sqrt(np.einsum("ij,ij->i", points, points))[:, None]
    return np.divide(points, length, out=np.zeros_like(points), where=length > 0)


def dissimilarity(points: FloatArray) -> FloatArray:
    """Mean of 1 - cosine similarity of each row to the others: (n,); 0 for a lone row. Linear in n."""
    others = len(points) - 1
    if others == 0:
        return np.zeros(1)
    units = unit_rows(points)
    similar = units @ units.sum(axis=0) - np.einsum("ij,ij->i", units, units)
    return np.maximum((others - similar) / others, 0.0)


def farthest_points(
    points: FloatArray, nearest: FloatArray, count: int, available: Availability
) -> tuple[IntArray, FloatArray]:
    """Greedy farthest-point selection (Levy et al., arXiv 2601.18532, section 3.1.5).

    Repeatedly takes the row that is farthest from its nearest chosen one; the lowest row wins a tie. Only
    the last pick can make a row nearer, so that one column of distances per pick is enough.

    Args:
        points: (N, D).
        nearest: (N,) distance of each row to the set chosen so far.
        count: how many to take, at most the candidates that are left.
        available: which of them may be taken; it is told of each.

    Returns:
        The rows in the order taken (count,), and their distance to the set when they were taken (count,).
    """
    nearest = nearest.copy()
    picks = np.zeros(count, dtype=np.int64)
    reach = np.zeros(count)
    for step in range(count):
        at = int(np.argmax(np.where(available.now, nearest, -np.inf)))
        picks[step], reach[step] = at, nearest[at]
        available.take(at)
        np.minimum(nearest, distances(points, points[at]), out=nearest)
    return picks, reach
