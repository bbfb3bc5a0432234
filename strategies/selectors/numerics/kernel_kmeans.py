"""k-means in the feature space of a sum of radial kernels."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from strategies.selectors.numerics.cluster import count_distinct, numbered_by_size
from strategies.selectors.numerics.distances import squared_by_products
from strategies.selectors.rules.checks import FloatArray, IntArray

GAMMAS = (0.1, 1.0, 10.0)
_SELF_KERNEL = float(len(GAMMAS))  # K(x, x)
MAX_EXACT = 20_000  # rows clustered directly; above, a sample is clustered
_STARTS, _MAX_STEPS = 5, 100
_MAX_CACHED = 2_000  # rows whose kernel matrix is kept: 32 MB
_CHUNK_VALUES = 1 << 20


def kernel_kmeans(points: FloatArray, k: int, seed: int) -> IntArray:
    """Run multi-kernel k-means with K(x, y) = sum over gamma in (0.1, 1, 10) of exp(-gamma |x - y|^2).

    CSAL-3D, Zhu et al., MICCAI 2025, the paragraph on URDS; see `docs/selection.md`. Points are scaled to a
    median squared distance of 1 (over at most 2,000 rows), or else the kernels would be all near 1 or all
    near 0. There are 5 k-means++ starts up to 2,000 rows and one above; the smallest sum of squares wins.
    Kernels are computed in blocks. Above 20,000 rows, a seeded sample of 2,000 (10 k if that is more, at most
    20,000) is clustered and every row joins the nearest centre: centres lie in the span of the sample (a
    Nystroem approximation).

    Returns:
        Labels (N,) of at most `k` clusters, numbered by decreasing size, then by lowest row.
    """
    if k >= len(points):
        return numbered_by_size(np.unique(points, axis=0, return_inverse=True)[1].reshape(len(points)))
    k = count_distinct(points, k)
    if k < 2:
        return np.zeros(len(points), dtype=np.int64)
    rng = np.random.default_rng(seed)
    points = _scaled(points, rng)
    with threadpool_limits(limits=1):
        if len(points) <= MAX_EXACT:
            return numbered_by_size(_best_of(points, k, rng))
        sample_size = min(max(_MAX_CACHED, 10 * k), MAX_EXACT)
        k = min(k, sample_size)
        sample = points[np.sort(rng.choice(len(points), sample_size, replace=False))]
        labels = _best_of(sample, k, rng)
        members = _one_hot(labels, k)
        sums, member_sums = _kernel_sums(points, sample, members), _kernel_sums(sample, sample, members)
        return numbered_by_size(_nearest(sums, member_sums, labels)[0])


def _scaled(points: FloatArray, rng: np.random.Generator) -> FloatArray:
    from scipy.spatial.distance import pdist  # slow to import

    sample = points
    if len(points) > _MAX_CACHED:
        sample = points[rng.choice(len(points), _MAX_CACHED, replace=False)]
    squared = pdist(sample, "sqeuclidean")
    scale = float(np.median(squared)) or float(squared.mean()) or 1.0
    return points / np.sqrt(scale)


def _kernel(points: FloatArray, others: FloatArray) -> FloatArray:
    squared = squared_by_products(points, others)
    np.maximum(squared, 0.0, out=squared)
    wide = np.exp(-GAMMAS[0] * squared)
    middle = _tenth_power(wide)  # each gamma is ten times the previous one, and exp is slow
    return np.asarray(wide + middle + _tenth_power(middle))


def _tenth_power(values: FloatArray) -> FloatArray:
    square = values * values
    eighth = square * square
    eighth *= eighth
    return np.asarray(eighth * square)


def _best_of(points: FloatArray, k: int, rng: np.random.Generator) -> IntArray:
    starts = _STARTS if len(points) <= _MAX_CACHED else 1
    tries = [_lloyd(points, _seed_labels(points, k, rng), k) for _ in range(starts)]
    return min(tries, key=lambda run: run[1])[0]  # ties: the first


def _seed_labels(points: FloatArray, k: int, rng: np.random.Generator) -> IntArray:
    """Run k-means++ in the kernel's space: labels (N,) by the nearest of k rows drawn far apart."""
    labels = np.zeros(len(points), dtype=np.int64)
    nearest = np.full(len(points), np.inf)
    at = int(rng.integers(len(points)))
    for number in range(k):
        if number:
            total = nearest.sum()
            chance = nearest / total if total > 0 else None
            at = int(rng.choice(len(points), p=chance))
        reach = np.maximum(2.0 * _SELF_KERNEL - 2.0 * _kernel(points, points[at : at + 1])[:, 0], 0.0)
        reach[at] = 0.0
        labels[reach < nearest] = number
        labels[at] = number
        nearest = np.minimum(nearest, reach)
    return labels


def _lloyd(points: FloatArray, labels: IntArray, k: int) -> tuple[IntArray, float]:
    """Iterate until labels (N,) no longer change, at most 100 steps; return them and their sum of squares.

    A step evaluates the kernels of those rows only whose label changed: late steps change few.
    """
    cached = _kernel(points, points) if len(points) <= _MAX_CACHED else None
    sums = _kernel_sums(points, points, _one_hot(labels, k), cached)
    for _ in range(_MAX_STEPS):
        new_labels, reach = _nearest(sums, sums, labels)
        changed = np.flatnonzero(new_labels != labels)
        if not len(changed):
            break
        change = _one_hot(new_labels[changed], k) - _one_hot(labels[changed], k)
        sums += _kernel_sums(points, points[changed], change, None if cached is None else cached[:, changed])
        labels = new_labels
    return labels, float(reach.sum())


def _one_hot(labels: IntArray, k: int) -> FloatArray:
    return np.asarray(labels[:, None] == np.arange(k), dtype=np.float64)


def _nearest(sums: FloatArray, member_sums: FloatArray, labels: IntArray) -> tuple[IntArray, FloatArray]:
    """Return each row's nearest centre and its squared distance.

    Centres are the means of the members by label. A cluster that lost its members stays empty.

    Args:
        sums: (n, k) kernels between each row and the members of each cluster, summed.
        member_sums: (m, k) the same of the members themselves.
        labels: (m,) clusters of the members.
    """
    sizes = np.bincount(labels, minlength=sums.shape[1])
    within = np.bincount(labels, member_sums[np.arange(len(labels)), labels], minlength=len(sizes))
    filled = np.maximum(sizes, 1)
    inner = np.where(sizes > 0, within / filled**2, np.inf)
    reach = inner - 2.0 * sums / filled + _SELF_KERNEL
    nearest = reach.argmin(axis=1)
    return nearest, np.maximum(reach[np.arange(len(sums)), nearest], 0.0)


def _kernel_sums(
    points: FloatArray, others: FloatArray, weights: FloatArray, cached: FloatArray | None = None
) -> FloatArray:
    """Return (n, k): for each of `points` its kernels to `others` (m, D), summed with `weights` (m, k)."""
    if cached is not None:
        return np.asarray(cached @ weights)
    sums = np.empty((len(points), weights.shape[1]))
    step = max(1, _CHUNK_VALUES // len(others))
    for at in range(0, len(points), step):
        sums[at : at + step] = _kernel(points[at : at + step], others) @ weights
    return sums
