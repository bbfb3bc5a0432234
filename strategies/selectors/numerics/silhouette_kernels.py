"""Loops of exact silhouettes, compiled by numba, which is slow to import: only used from functions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.compiled import compiled
from strategies.selectors.rules.checks import BoolArray, FloatArray, IntArray

# rows, rows and columns processed together: they fit into a processor's cache
_LANES, _BLOCK, _COLUMNS = 32, 128, 64
_Float32Array = npt.NDArray[np.float32]


@compiled(nogil=True)
def sum_silhouettes(
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


@compiled()
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


@compiled()
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
