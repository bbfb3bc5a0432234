"""Medoid of a cluster."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from strategies.selectors.numerics.distances import (
    FEW_COLUMNS,
    distances,
    first_smallest,
    products_error,
    squared_by_products,
)
from strategies.selectors.rules.checks import BoolArray, FloatArray, RowNumbers, check_points, row_numbers

# Relative error by which rounding can lift a lower bound above the sum it bounds.
_SLACK = 1e-9
_CHUNK_VALUES = 1 << 22


def medoid(points: npt.ArrayLike, members: RowNumbers) -> int:
    """Return the member with the smallest summed Euclidean distance to all members.

    Levy et al., arXiv 2601.18532, equation (2); see `docs/selection.md`. Ties go to the lowest row; sums that
    differ only by rounding (1e-12, relative) tie.

    Args:
        points: (N, D).
        members: row numbers of the cluster, at least one; repetitions count once.

    Returns:
        A row number of `points`.

    Raises:
        ValueError: no members, a row number that does not exist, or points that are not finite.
    """
    array = check_points(points)
    rows = row_numbers(members, len(array), "members")
    if len(rows) == 0:
        raise ValueError("a cluster without members has no medoid")
    return int(rows[middle(array[rows])])


def middle(cluster: FloatArray, allowed: BoolArray | None = None) -> int:
    """Return the `medoid` of all rows of `cluster` (n >= 1, D), or the best `allowed` (n,) one; no checks.

    The summed distance is convex in the position: S(y) >= S(x) + g(x) (y - x), with g(x) the sum of the unit
    vectors towards x. So each computed sum bounds all others from below, and only rows whose bound does not
    exceed the best sum need theirs computed: a few dozen on a 2-D map, in memory linear in n. Among many
    columns these bounds are weak, so all pairs bound the sums first, by matrix products.
    """
    centred = cluster - cluster.mean(axis=0)
    sums = np.full(len(cluster), np.inf)
    free = np.ones(len(cluster), dtype=bool) if allowed is None else allowed
    bounds = np.where(free, 0.0 if cluster.shape[1] < FEW_COLUMNS else _bounds_of_all(centred), np.inf)
    at = int(np.argmin(np.where(free, (centred * centred).sum(axis=1), np.inf)))
    while bounds[at] <= sums.min() * (1 + _SLACK):
        reach = distances(cluster, cluster[at])
        sums[at] = reach.sum()
        np.maximum(bounds, _lower_bounds(centred, at, reach), out=bounds)
        same = (reach == 0) & free
        sums[same] = sums[at]
        bounds[same] = np.inf
        at = int(np.argmin(bounds))
        if np.isinf(bounds[at]):
            break
    return first_smallest(sums)


def _bounds_of_all(centred: FloatArray) -> FloatArray:
    """Return lower bounds (n,) of all summed distances, slightly below them."""
    error = np.sqrt(products_error(centred))  # of a distance of 0; larger ones are off by less
    sums = np.zeros(len(centred))
    step = max(1, _CHUNK_VALUES // len(centred))
    with threadpool_limits(limits=1):
        for at in range(0, len(centred), step):
            squared = squared_by_products(centred[at : at + step], centred)
            sums[at : at + step] = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared).sum(axis=1)
    return np.maximum(sums - len(centred) * error, 0.0)


def _lower_bounds(points: FloatArray, at: int, reach: FloatArray) -> FloatArray:
    """Return lower bounds (n,) of all summed distances, given the distances `reach` (n,) of row `at`."""
    weight = np.divide(1.0, reach, out=np.zeros_like(reach), where=reach > 0)
    gradient = np.zeros(points.shape[1])
    step = max(1, _CHUNK_VALUES // points.shape[1])
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        # differences first: weighted sums of close rows would cancel
        gradient += weight[part] @ (points[at] - points[part])
    bounds: FloatArray = reach.sum() + (points @ gradient - points[at] @ gradient)
    return bounds
