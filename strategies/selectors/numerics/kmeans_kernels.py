"""Loops of k-means on a 2-D map, compiled by numba, which is slow to import: only used from functions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.compiled import compiled
from strategies.selectors.rules.checks import FloatArray

_MAX_STEPS = 300  # scikit-learn's default
_LANES, _BLOCK = 8, 512  # numbers per vector instruction, points whose distances fit into a cache
_Labels = npt.NDArray[np.int32]


# loops instead of NumPy functions, which take seconds to compile
@compiled(nogil=True)
def spread_centres(x: FloatArray, y: FloatArray, draws: FloatArray, k: int, trials: int) -> FloatArray:
    """Draw k-means++ centres (k, 2): each is the best of `trials` points drawn by squared distance."""
    count, centres = len(x), np.empty((k, 2))
    summed, nearest, tried, best = np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    for i in range(count):
        nearest[i], summed[i] = np.inf, i + 1.0
    for number in range(k):
        least, chosen = np.inf, 0
        for t in range(trials if number else 1):
            draw = draws[1 + (number - 1) * trials + t] if number else draws[0]
            at = _search_sorted(summed, draw * summed[count - 1])
            scatter = _fill_nearest(x, y, at, nearest, tried)
            if scatter < least:
                least, chosen = scatter, at
                best, tried = tried, best
        nearest, best = best, nearest
        running = 0.0
        for i in range(count):
            running += nearest[i]
            summed[i] = running
        centres[number, 0], centres[number, 1] = x[chosen], y[chosen]
    return centres


@compiled()
def _search_sorted(summed: FloatArray, value: float) -> int:
    """Return the first index of increasing numbers with at least `value`, or the last index."""
    low, high = 0, len(summed) - 1
    while low < high:
        middle = (low + high) // 2
        if summed[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled()
def _fill_nearest(x: FloatArray, y: FloatArray, at: int, nearest: FloatArray, tried: FloatArray) -> float:
    """Write squared distances (N,) to the centres so far and point `at` into `tried`; return their sum."""
    total, parts = 0.0, np.empty(_LANES)
    for i in range(len(x)):
        across, along = x[i] - x[at], y[i] - y[at]
        tried[i] = min(across * across + along * along, nearest[i])
    for lane in range(_LANES):
        parts[lane] = 0.0
    for turn in range(len(x) // _LANES):
        for lane in range(_LANES):
            parts[lane] += tried[turn * _LANES + lane]
    for i in range(len(x) - len(x) % _LANES, len(x)):
        total += tried[i]
    for lane in range(_LANES):
        total += parts[lane]
    return total


@compiled(nogil=True)
def lloyd(x: FloatArray, y: FloatArray, centres: FloatArray, labels: _Labels, tolerance: float) -> bool:
    """Run Lloyd's algorithm until nothing changes; return False if a cluster runs empty."""
    k = len(centres)
    before, sums, sizes = np.empty(len(x), np.int32), np.empty((k, 2)), np.empty(k)
    for i in range(len(x)):
        before[i] = -1
    for _ in range(_MAX_STEPS):
        _fill_labels(x, y, centres, labels)
        for j in range(k):
            sizes[j] = sums[j, 0] = sums[j, 1] = 0.0
        changed = False
        for i in range(len(x)):
            label = labels[i]
            changed |= label != before[i]
            before[i] = label
            sizes[label] += 1.0
            sums[label, 0] += x[i]
            sums[label, 1] += y[i]
        moved = 0.0
        for j in range(k):
            if sizes[j] == 0.0:
                return False
            for d in range(2):
                mean = sums[j, d] * (1.0 / sizes[j])
                moved += (mean - centres[j, d]) * (mean - centres[j, d])
                centres[j, d] = mean
        if not changed:
            return True
        if moved <= tolerance:
            break
    _fill_labels(x, y, centres, labels)
    return True


@compiled()
def _fill_labels(x: FloatArray, y: FloatArray, centres: FloatArray, labels: _Labels) -> None:
    """Write the nearest of `centres` (k, 2) to each point into `labels`; ties go to the first."""
    least = np.empty(_BLOCK)
    for first in range(0, len(x), _BLOCK):
        # slices, because numba checks plain indices for being negative
        some_x, some_y = x[first : first + _BLOCK], y[first : first + _BLOCK]
        some_labels = labels[first : first + _BLOCK]
        for i in range(len(some_labels)):
            least[i] = np.inf
        for j in range(len(centres)):
            a, b = 2.0 * centres[j, 0], 2.0 * centres[j, 1]
            square = (a * a + b * b) / 4.0
            for i in range(len(some_labels)):
                reach = square - a * some_x[i] - b * some_y[i]
                some_labels[i] = j if reach < least[i] else some_labels[i]
                least[i] = min(reach, least[i])
