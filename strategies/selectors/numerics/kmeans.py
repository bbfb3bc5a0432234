"""scikit-learn's k-means, several times faster on a 2-D map."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from strategies.selectors.rules.checks import FloatArray, IntArray

FEW_POINTS = 500  # below, scikit-learn is faster than compiling
_TOLERANCE = 1e-4  # scikit-learn's default
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
    from sklearn.cluster import KMeans  # slow to import

    with _threads().limit(limits=1):
        return KMeans(k, n_init=n_init, random_state=seed).fit_predict(points).astype(np.int64)


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    """Return a cached controller: finding the libraries takes longer than k-means on a small map."""
    return ThreadpoolController()


def _best_start(points: FloatArray, k: int, n_init: int, seed: int) -> _Labels | None:
    """Return the labels (N,) of the best of `n_init` starts; None if a cluster runs empty."""
    from strategies.selectors.numerics.kmeans_kernels import lloyd, spread_centres  # imports numba

    x, y, trials = points[:, 0].copy(), points[:, 1].copy(), 2 + int(np.log(k))
    tolerance = _TOLERANCE * float(points.var(axis=0).mean())
    rng, least = np.random.RandomState(seed), np.inf
    best: _Labels | None = None
    for _ in range(n_init):
        centres = spread_centres(x, y, rng.random_sample(1 + (k - 1) * trials), k, trials)
        labels = np.empty(len(points), np.int32)
        if not lloyd(x, y, centres, labels, tolerance) or not np.bincount(labels, minlength=k).all():
            return None
        scatter = float(((points - centres[labels]) ** 2).sum())
        # the same clusters numbered differently could only win by rounding
        if best is None or (scatter < least and not _are_same(labels, best, k)):
            best, least = labels, scatter
    return best


def _are_same(labels: _Labels, others: _Labels, k: int) -> bool:
    """Return True if two labellings by k numbers are the same up to renumbering."""
    return len(np.unique(labels.astype(np.int64) * k + others)) <= k
