"""scikit-learn's k-means, several times as fast on a map."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from strategies.selectors.checks import FloatArray, IntArray

FEW_POINTS = 2_000  # below, scikit-learn takes less time than compiling
MOST_COLUMNS = 8  # beyond, its matrix products are faster
_STEPS, _TOLERANCE = 300, 1e-4  # scikit-learn's defaults
_LANES, _BLOCK = 8, 512  # numbers of a vector instruction, points whose distances stay in a cache
_Labels = npt.NDArray[np.int32]


def kmeans_labels(points: FloatArray, k: int, n_init: int, seed: int) -> IntArray:
    """Labels (N,) of `KMeans(k, n_init=n_init, random_state=seed)`, k of them where that many points differ.

    From 2,000 points on, of 8 columns at most, it draws the same numbers and takes the same steps (k-means++
    with 2 + log k trials, Lloyd's algorithm with scikit-learn's tolerance, the start with the smallest sum of
    squares), so that the labels are the same but where sums tie to the last digit, as those of mirrored
    points may. Scikit-learn itself does the others, and those in which a cluster runs empty. On one thread:
    with several, sums change from run to run.
    """
    if len(points) >= FEW_POINTS and points.shape[1] <= MOST_COLUMNS:
        found = _best_start(points - points.mean(axis=0), k, n_init, seed)
        if found is not None:
            return found.astype(np.int64)
    with threadpool_limits(limits=1):
        return KMeans(k, n_init=n_init, random_state=seed).fit_predict(points).astype(np.int64)


def _best_start(points: FloatArray, k: int, n_init: int, seed: int) -> _Labels | None:
    """Labels (N,) of the best of `n_init` starts; None when a cluster has run empty."""
    columns, trials = np.ascontiguousarray(points.T), 2 + int(np.log(k))
    tolerance = _TOLERANCE * float(columns.var(axis=1).mean())
    rng, least = np.random.RandomState(seed), np.inf
    best: _Labels | None = None
    for _ in range(n_init):
        centres = _spread_centres(columns, rng.random_sample(1 + (k - 1) * trials), k, trials)
        labels = np.empty(len(points), np.int32)
        if not _lloyd(columns, centres, labels, tolerance):
            return None
        scatter = float(((points - centres[labels]) ** 2).sum())
        # the same clusters in other numbers are better by rounding alone
        if best is None or (scatter < least and not _are_same(labels, best, k)):
            best, least = labels, scatter
    return best


def _are_same(labels: _Labels, others: _Labels, k: int) -> bool:
    """Whether two labellings by k numbers differ in their numbers at most."""
    return len(np.unique(labels.astype(np.int64) * k + others)) <= k


# No fastmath and no cache on disk, as in `silhouette`; loops where NumPy has functions, because those take
# seconds to compile.
@numba.njit(nogil=True, error_model="numpy")
def _spread_centres(columns: FloatArray, draws: FloatArray, k: int, trials: int) -> FloatArray:
    """k-means++: each next centre (k, D) is the best of `trials` points, drawn by their squared distance."""
    dims, count = columns.shape
    centres, summed = np.empty((k, dims)), np.empty(count)
    nearest, tried, best = np.empty(count), np.empty(count), np.empty(count)
    for i in range(count):
        nearest[i], summed[i] = np.inf, i + 1.0
    for number in range(k):
        least, chosen = np.inf, 0
        for t in range(trials if number else 1):
            draw = draws[1 + (number - 1) * trials + t] if number else draws[0]
            at = _first_above(summed, draw * summed[count - 1])
            scatter = _fill_nearest(columns, at, nearest, tried)
            if scatter < least:
                least, chosen = scatter, at
                best, tried = tried, best
        nearest, best = best, nearest
        running = 0.0
        for i in range(count):
            running += nearest[i]
            summed[i] = running
        for d in range(dims):
            centres[number, d] = columns[d, chosen]
    return centres


@numba.njit(error_model="numpy")
def _first_above(summed: FloatArray, value: float) -> int:
    """The first row of rising numbers that is at least `value`, or the last row."""
    low, high = 0, len(summed) - 1
    while low < high:
        middle = (low + high) // 2
        if summed[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(error_model="numpy")
def _fill_nearest(columns: FloatArray, at: int, nearest: FloatArray, tried: FloatArray) -> float:
    """Squared distances (N,) to the centres so far and the point `at`, into `tried`; their sum."""
    dims, count = columns.shape
    for i in range(count):
        tried[i] = 0.0
    for d in range(dims):
        centre = columns[d, at]
        for i in range(count):
            away = columns[d, i] - centre
            tried[i] += away * away
    parts, total = np.empty(_LANES), 0.0
    for lane in range(_LANES):
        parts[lane] = 0.0
    for i in range(count):
        tried[i] = min(tried[i], nearest[i])
    for turn in range(count // _LANES):
        for lane in range(_LANES):
            parts[lane] += tried[turn * _LANES + lane]
    for i in range(count - count % _LANES, count):
        total += tried[i]
    for lane in range(_LANES):
        total += parts[lane]
    return total


@numba.njit(nogil=True, error_model="numpy")
def _lloyd(columns: FloatArray, centres: FloatArray, labels: _Labels, tolerance: float) -> bool:
    """Find the nearest centres, which move until nothing changes; False when a cluster has run empty."""
    dims, count = columns.shape
    k = len(centres)
    before, sums, sizes = np.empty(count, np.int32), np.empty((k, dims)), np.empty(k)
    for i in range(count):
        before[i] = -1
    for _ in range(_STEPS):
        _fill_labels(columns, centres, labels)
        for j in range(k):
            sizes[j] = 0.0
            for d in range(dims):
                sums[j, d] = 0.0
        changed = False
        for i in range(count):
            label = labels[i]
            changed |= label != before[i]
            before[i] = label
            sizes[label] += 1.0
            for d in range(dims):
                sums[label, d] += columns[d, i]
        moved = 0.0
        for j in range(k):
            if sizes[j] == 0.0:
                return False
            for d in range(dims):
                away = sums[j, d] * (1.0 / sizes[j]) - centres[j, d]
                moved += away * away
                centres[j, d] = sums[j, d] * (1.0 / sizes[j])
        if not changed:
            return True
        if moved <= tolerance:
            break
    _fill_labels(columns, centres, labels)
    return True


@numba.njit(error_model="numpy")
def _fill_labels(columns: FloatArray, centres: FloatArray, labels: _Labels) -> None:
    """The nearest of `centres` (k, D) to each of the points (D, N); of those that tie, the first."""
    least, reach = np.empty(_BLOCK), np.empty(_BLOCK)
    for first in range(0, len(labels), _BLOCK):
        found = labels[
            first : first + _BLOCK
        ]  # slices: numba asks of other indices whether they are negative
        for i in range(len(found)):
            least[i] = np.inf
        for j in range(len(centres)):
            square = 0.0
            for d in range(len(columns)):
                square += centres[j, d] * centres[j, d]
            for i in range(len(found)):
                reach[i] = square
            for d in range(len(columns)):
                column, twice = columns[d, first : first + _BLOCK], 2.0 * centres[j, d]
                for i in range(len(found)):
                    reach[i] -= twice * column[i]
            for i in range(len(found)):
                found[i] = j if reach[i] < least[i] else found[i]
                least[i] = min(reach[i], least[i])
