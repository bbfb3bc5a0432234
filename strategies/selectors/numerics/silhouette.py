"""Mean silhouettes of several labellings of the same points, without a matrix of all pairs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt
from joblib import cpu_count

from strategies.selectors.numerics.silhouette_grid import silhouettes_on_grid
from strategies.selectors.rules.checks import BoolArray, FloatArray, IntArray

logger = logging.getLogger(__name__)

MAX_EXACT = 30_000  # rows up to which all are compared with all
SAMPLE = 10_000  # rows compared with all in larger pools if the grid cannot be used
TOLERANCE = 1e-3  # of the grid, measured on _CHECKED_ROWS rows
_CHECKED_ROWS = 500
# rows, rows and columns processed together: they fit into a processor's cache
_LANES, _BLOCK, _COLUMNS = 32, 128, 64
_THREAD_ROWS = 1_024  # rows per task of a thread
_Float32Array = npt.NDArray[np.float32]


def mean_silhouettes(points: FloatArray, labellings: Sequence[IntArray]) -> list[float]:
    """Return the mean silhouette (Rousseeuw 1987; Levy et al., arXiv 2601.18532, equation (1)) per labelling.

    Exact up to rounding for up to 30,000 rows: distances are float32, of centred points, summed as float64;
    the mean is accurate to about 1e-8. Above, in two dimensions, distances are those of a fine grid
    (`silhouette_grid`), whose error is measured on about 500 rows. If it exceeds 0.001, and in more
    dimensions, the result is the mean over a fixed random sample of 10,000 rows, the same for all labellings,
    each compared with all rows. The result does not depend on the number of threads.

    Args:
        points: (N, D) with N >= 2.
        labellings: each (N,), labels 0 .. k - 1 with k >= 2 and none missing.
    """
    if not labellings:
        return []
    labels = np.stack(labellings)
    if len(points) <= MAX_EXACT:
        return exact_silhouettes(points, labels, np.arange(len(points))).tolist()
    rows = np.sort(np.random.default_rng(0).choice(len(points), SAMPLE, replace=False))
    if points.shape[1] == 2:
        silhouettes = silhouettes_on_grid(points, labels)
        checked = rows[:: SAMPLE // _CHECKED_ROWS]
        exact = exact_silhouettes(points, labels, checked)
        error = np.abs(exact - silhouettes[:, checked].mean(axis=1)).max()
        logger.info("Silhouettes of %d points on a grid: error %.1g", len(points), error)
        if error <= TOLERANCE:
            return silhouettes.mean(axis=1).tolist()
    logger.info("Silhouettes of %d points: mean over %d of them, compared with all", len(points), SAMPLE)
    return exact_silhouettes(points, labels, rows).tolist()


def exact_silhouettes(points: FloatArray, labels: IntArray, rows: IntArray) -> FloatArray:
    """Return the mean silhouette (K,) of `rows` (n,), each compared with all, in each of `labels` (K, N)."""
    order = np.lexsort(labels)  # rows with the same labels everywhere become contiguous and are summed once
    points, labels = points[order], np.ascontiguousarray(labels[:, order])
    is_last = np.append((labels[:, 1:] != labels[:, :-1]).any(axis=0), True)
    sizes = np.stack([np.bincount(row, minlength=int(labels.max()) + 1) for row in labels])
    low, high = points.min(axis=0), points.max(axis=0)
    middle, width = (low + high) / 2, float((high - low).max()) or 1.0
    at = np.flatnonzero(np.isin(order, rows))
    parts = [at[start : start + _THREAD_ROWS] for start in range(0, len(at), _THREAD_ROWS)]

    def total(part: IntArray) -> FloatArray:
        return _sum_silhouettes(points, middle, width, labels, is_last, sizes, part)

    # numba's own threads fail with concurrent callers or fork
    with ThreadPoolExecutor(cpu_count()) as threads:
        return np.sum(list(threads.map(total, parts)), axis=0) / len(rows)


# No fastmath: every machine sums in the order written here. No cache on disk: it needs a writable folder, and
# compiling takes less than two seconds.
@numba.njit(nogil=True, error_model="numpy")
def _sum_silhouettes(
    points: FloatArray,
    middle: FloatArray,
    width: float,
    labels: IntArray,
    is_last: BoolArray,
    sizes: IntArray,
    rows: IntArray,
) -> FloatArray:
    """Sum the silhouettes of `rows` in each labelling (K,), of scaled points (p - middle) / width.

    _LANES rows are compared with _BLOCK points at a time; the innermost loops run over the rows and become
    vector instructions.

    :param labels: (K, N), :param sizes: (K, k) of their clusters
    :param is_last: (N,) True if the next point has other labels
    """
    tries, most = sizes.shape
    even = points.shape[1] + points.shape[1] % 2
    mine = np.zeros((even, _LANES), dtype=np.float32)
    other = np.zeros((_BLOCK, even), dtype=np.float32)
    reach = np.empty((_BLOCK, _LANES), dtype=np.float32)
    alike = np.zeros(_LANES, dtype=np.float32)
    total = np.zeros(tries)
    for at in range(0, len(rows), _LANES):
        lane_rows = rows[at : at + _LANES]
        for lane in range(len(lane_rows)):
            for d in range(len(middle)):
                mine[d, lane] = (points[lane_rows[lane], d] - middle[d]) / width
        sums = np.zeros((tries, most, _LANES))
        for first in range(0, len(points), _BLOCK):
            block = points[first : first + _BLOCK]
            for j in range(len(block)):
                for d in range(len(middle)):
                    other[j, d] = (block[j, d] - middle[d]) / width
            _fill_distances(mine, other, reach)
            for j in range(len(block)):
                for lane in range(_LANES):
                    alike[lane] += reach[j, lane]
                if is_last[first + j] or j == len(block) - 1:
                    for t in range(tries):
                        label = labels[t, first + j]
                        for lane in range(_LANES):
                            sums[t, label, lane] += alike[lane]
                    alike[:] = 0.0
        for t in range(tries):
            for lane in range(len(lane_rows)):
                total[t] += _silhouette(sums[t, :, lane], sizes[t], labels[t, lane_rows[lane]])
    return total


@numba.njit(error_model="numpy")
def _fill_distances(mine: _Float32Array, other: _Float32Array, reach: _Float32Array) -> None:
    """Write the distances of `other` (_BLOCK, D) to `mine` (D, _LANES) into `reach`; D is even."""
    reach[:] = 0.0
    for begin in range(0, len(mine), _COLUMNS):
        end = min(begin + _COLUMNS, len(mine))
        for j in range(_BLOCK):
            for d in range(begin, end, 2):
                a, b = other[j, d], other[j, d + 1]
                for lane in range(_LANES):
                    x, y = mine[d, lane] - a, mine[d + 1, lane] - b
                    reach[j, lane] += x * x + y * y
    flat = reach.reshape(-1)
    for i in range(flat.size):
        flat[i] = np.sqrt(flat[i])


@numba.njit(error_model="numpy")
def _silhouette(sums: FloatArray, sizes: IntArray, own: int) -> float:
    """Return one row's silhouette from its summed distances per cluster; 0 for a lone row (Rousseeuw)."""
    if sizes[own] == 1:
        return 0.0
    inside, outside = sums[own] / (sizes[own] - 1), np.inf
    for label in range(len(sizes)):
        if label != own and sizes[label]:
            outside = min(outside, sums[label] / sizes[label])
    widest = max(inside, outside)
    return (outside - inside) / widest if widest > 0 else 0.0
