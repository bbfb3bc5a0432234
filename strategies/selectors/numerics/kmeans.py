"""scikit-learn's k-means, several times faster on a 2-D map."""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from threadpoolctl import ThreadpoolController

from strategies.selectors.rules.checks import FloatArray, IntArray

FEW_POINTS = 500  # below, scikit-learn is faster than compiling
_MAX_STEPS, _TOLERANCE = 300, 1e-4  # scikit-learn's defaults
_LANES, _BLOCK = 8, 512  # numbers per vector instruction, points whose distances fit into a cache
_Labels = npt.NDArray[np.int32]


def kmeans_labels(points: FloatArray, k: int, n_init: int, seed: int) -> IntArray:
    """Return the labels (N,) of `KMeans(k, n_init=n_init, random_state=seed)`.

    From 500 points in two columns, it draws the same numbers and takes the same steps as scikit-learn
    (k-means++ with 2 + log k trials, Lloyd's algorithm with the same tolerance, the start with the smallest
    sum of squares). So labels are the same, except where sums tie to the last digit (e.g. mirrored points) or
    where there are fewer clumps than clusters, each less than a millionth of the map wide. Scikit-learn
    handles all other cases, and those in which a cluster runs empty. On one thread: with several, sums vary
    between runs.
    """
    if len(points) >= FEW_POINTS and points.shape[1] == 2:
        labels = _best_start(points - points.mean(axis=0), k, n_init, seed)
        if labels is not None:
            return labels.astype(np.int64)
    with _threads().limit(limits=1):
        return KMeans(k, n_init=n_init, random_state=seed).fit_predict(points).astype(np.int64)


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    """Return a cached controller: finding the libraries takes longer than k-means on a small map."""
    return ThreadpoolController()


def _best_start(points: FloatArray, k: int, n_init: int, seed: int) -> _Labels | None:
    """Return the labels (N,) of the best of `n_init` starts; None if a cluster runs empty."""
    x, y, trials = points[:, 0].copy(), points[:, 1].copy(), 2 + int(np.log(k))
    tolerance = _TOLERANCE * float(points.var(axis=0).mean())
    rng, least = np.random.RandomState(seed), np.inf
    best: _Labels | None = None
    for _ in range(n_init):
        centres = _spread_centres(x, y, rng.random_sample(1 + (k - 1) * trials), k, trials)
        labels = np.empty(len(points), np.int32)
        if not _lloyd(x, y, centres, labels, tolerance) or not np.bincount(labels, minlength=k).all():
            return None
        scatter = float(((points - centres[labels]) ** 2).sum())
        # the same clusters numbered differently could only win by rounding
        if best is None or (scatter < least and not _are_same(labels, best, k)):
            best, least = labels, scatter
    return best


def _are_same(labels: _Labels, others: _Labels, k: int) -> bool:
    """Return True if two labellings by k numbers are the same up to renumbering."""
    return len(np.unique(labels.astype(np.int64) * k + others)) <= k


# No fastmath and no cache on disk, as in `silhouette`; loops instead of NumPy functions, which take seconds
# to compile.
@numba.njit(nogil=True, error_model="numpy")
def _spread_centres(x: FloatArray, y: FloatArray, draws: FloatArray, k: int, trials: int) -> FloatArray:
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


@numba.njit(error_model="numpy")
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


@numba.njit(error_model="numpy")
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


@numba.njit(nogil=True, error_model="numpy")
def _lloyd(x: FloatArray, y: FloatArray, centres: FloatArray, labels: _Labels, tolerance: float) -> bool:
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


@numba.njit(error_model="numpy")
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
