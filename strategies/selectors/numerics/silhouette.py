"""Mean silhouettes of several labellings of the same points, without a matrix of all pairs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from strategies.selectors.rules.checks import FloatArray, IntArray

logger = logging.getLogger(__name__)

MAX_EXACT = 30_000  # rows up to which all are compared with all
SAMPLE = 10_000  # rows compared with all in larger pools if the grid cannot be used
TOLERANCE = 1e-3  # of the grid, measured on _CHECKED_ROWS rows
_CHECKED_ROWS = 500
_THREAD_ROWS = 1_024  # rows per task of a thread


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
        from strategies.selectors.numerics.silhouette_grid import silhouettes_on_grid  # imports scipy.fft

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
    from joblib import cpu_count

    from strategies.selectors.numerics.silhouette_kernels import sum_silhouettes  # imports numba

    order = np.lexsort(labels)  # rows with the same labels everywhere become contiguous and are summed once
    points, labels = points[order], np.ascontiguousarray(labels[:, order])
    is_last = np.append((labels[:, 1:] != labels[:, :-1]).any(axis=0), True)
    sizes = np.stack([np.bincount(row, minlength=int(labels.max()) + 1) for row in labels])
    low, high = points.min(axis=0), points.max(axis=0)
    middle, width = (low + high) / 2, float((high - low).max()) or 1.0
    at = np.flatnonzero(np.isin(order, rows))
    parts = [at[start : start + _THREAD_ROWS] for start in range(0, len(at), _THREAD_ROWS)]

    def total(part: IntArray) -> FloatArray:
        return sum_silhouettes(points, middle, width, labels, is_last, sizes, part)

    # numba's own threads fail with concurrent callers or fork
    with ThreadPoolExecutor(cpu_count()) as threads:
        return np.sum(list(threads.map(total, parts)), axis=0) / len(rows)
