"""Mean of the largest values, compiled by numba, which is slow to import: only used from functions."""

from __future__ import annotations

import numpy as np

from strategies.selectors.numerics.compiled import compiled
from strategies.selectors.rules.checks import FloatArray

_MARGIN = 0.9  # of the least of the largest values in the row before; most rows have enough above it


@compiled(nogil=True)
def tail_means(values: FloatArray, weights: FloatArray, share: float) -> FloatArray:
    """Return the conditional value at risk of each row of `values` (n, S), which are at least 0: (n,).

    It is the weighted mean of the largest values that together have `share` of the weight; the last of them
    counts in part. 0 where all weights (S,) are 0.
    """
    mass = share * weights.sum()
    means = np.zeros(len(values))
    if mass <= 0:
        return means
    large, heavy, above = np.empty(len(weights) + 1), np.empty(len(weights) + 1), -1.0
    for row in range(len(values)):
        count, enough = 0, 0.0
        for column in range(len(weights)):
            value, weight = values[row, column], weights[column]
            large[count], heavy[count] = value, weight
            count += value > above
            enough += weight * (value > above)
        if enough < mass:
            count = len(weights)
            large[:count], heavy[:count] = values[row], weights
        total, least = _sum_of_largest(large[:count], heavy[:count], mass)
        means[row], above = total / mass, least * _MARGIN
    return means


@compiled()
def _sum_of_largest(values: FloatArray, weights: FloatArray, mass: float) -> tuple[float, float]:
    """Return the weighted sum of the largest values up to `mass`, and the least of them.

    By quickselect; reorders both arrays.
    """
    low, high, total, pivot = 0, len(values), 0.0, 0.0
    while low < high:
        pivot = values[(low + high) // 2]
        larger, at, smaller = low, low, high
        weight_larger = weight_equal = sum_larger = 0.0
        while at < smaller:
            value, weight = values[at], weights[at]
            if value > pivot:
                weight_larger += weight
                sum_larger += weight * value
                values[at], weights[at] = values[larger], weights[larger]
                values[larger], weights[larger] = value, weight
                larger += 1
                at += 1
            elif value < pivot:
                smaller -= 1
                values[at], weights[at] = values[smaller], weights[smaller]
                values[smaller], weights[smaller] = value, weight
            else:
                weight_equal += weight
                at += 1
        if weight_larger > mass:
            high = larger
        elif weight_larger + weight_equal >= mass:
            return total + sum_larger + (mass - weight_larger) * pivot, pivot
        else:
            total += sum_larger + weight_equal * pivot
            mass -= weight_larger + weight_equal
            low = smaller
    return total, pivot
