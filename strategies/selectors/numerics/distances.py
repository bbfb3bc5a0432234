"""Euclidean distances, always by the same arithmetic, so ties are the same on every machine."""

from __future__ import annotations

import numpy as np

from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import FloatArray, IntArray

FEW_COLUMNS = 8
_CHUNK_VALUES = 1 << 22
# Relative difference below which two sums of distances count as equal.
ROUNDING = 1e-12


def distances(points: FloatArray, centre: FloatArray) -> FloatArray:
    """Return the distance (N,) of each row of `points` (N, D) to `centre` (D,), in bounded extra memory."""
    squared = np.zeros(len(points))
    if points.shape[1] < FEW_COLUMNS:
        for column in range(points.shape[1]):
            difference = points[:, column] - centre[column]
            squared += difference * difference
        return np.sqrt(squared)
    step = max(1, _CHUNK_VALUES // points.shape[1])
    for start in range(0, len(points), step):
        block = points[start : start + step] - centre
        squared[start : start + step] = (block * block).sum(axis=1)
    return np.sqrt(squared)


def squared_by_products(points: FloatArray, others: FloatArray) -> FloatArray:
    """Return squared distances (n, m) by a matrix product: fast, and off by up to `products_error`.

    scikit-learn's `euclidean_distances` does the same, but promises no bound on its error.

    Some are slightly below 0. Centre both first: the error grows with the distance from the origin.
    """
    inner, outer = np.einsum("ij,ij->i", points, points), np.einsum("ij,ij->i", others, others)
    squared: FloatArray = points @ others.T
    squared *= -2.0
    squared += inner[:, None]
    squared += outer
    return squared


def products_error(points: FloatArray) -> float:
    """Return the largest error of `squared_by_products` between rows of `points` (N, D)."""
    longest = float(np.einsum("ij,ij->i", points, points).max(initial=0.0))
    return 16.0 * (points.shape[1] + 4) * float(np.finfo(np.float64).eps) * longest


def nearest_distance(points: FloatArray, others: FloatArray) -> FloatArray:
    """Return the distance (N,) of each of `points` (N, D) to the nearest of `others` (M, D); inf if M = 0."""
    nearest = np.full(len(points), np.inf)
    for other in others:
        np.minimum(nearest, distances(points, other), out=nearest)
    return nearest


def first_smallest(values: FloatArray) -> int:
    """Return the index of the smallest of `values` (N >= 1, none negative); the first if several tie.

    Values equal up to rounding tie, so the result does not depend on the machine's arithmetic.
    """
    return int(np.argmax(values <= values.min() * (1 + ROUNDING)))


def first_largest(values: FloatArray, scale: float = 0.0) -> int:
    """Return the index of the largest of `values` (N >= 1); the first of those tied up to rounding.

    `scale` is the magnitude of the terms that the values are sums of, where these cancel.
    """
    size = max(scale, float(np.abs(values).max()))
    return int(np.argmax(values >= values.max() - ROUNDING * size))


def unit_rows(points: FloatArray) -> FloatArray:
    """Scale each row of `points` (N, D) to unit length; rows of zeros stay as they are."""
    length = np.sqrt(np.einsum("ij,ij->i", points, points))[:, None]
    return np.divide(points, length, out=np.zeros_like(points), where=length > 0)


def dissimilarity(points: FloatArray) -> FloatArray:
    """Return each row's mean of 1 - cosine similarity to the others (n,); 0 for a lone row. Linear in n."""
    others = len(points) - 1
    if others == 0:
        return np.zeros(1)
    units = unit_rows(points)
    similar = units @ units.sum(axis=0) - np.einsum("ij,ij->i", units, units)
    return np.maximum((others - similar) / others, 0.0)


def farthest_points(
    points: FloatArray, nearest: FloatArray, count: int, available: Availability
) -> tuple[IntArray, FloatArray]:
    """Select farthest points greedily (Levy et al., arXiv 2601.18532, section 3.1.5).

    Repeatedly take the row farthest from its nearest chosen one; ties go to the lowest row. Only the last
    pick can reduce a distance, so one column of distances per pick is enough.

    Args:
        points: (N, D).
        nearest: (N,) distance of each row to the set chosen so far.
        count: number of rows to take, at most the number of candidates left.
        available: rows that may be taken; updated at each pick.

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
