"""k-means in the space of several radial kernels, summed."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist
from threadpoolctl import threadpool_limits

from strategies.selectors.numerics.cluster import count_distinct, numbered_by_size
from strategies.selectors.rules.checks import FloatArray, IntArray

GAMMAS = (0.1, 1.0, 10.0)
_SELF = float(len(GAMMAS))  # K(x, x)
MAX_EXACT = 20_000  # rows clustered all together; above, a sample is
_STARTS, _STEPS = 5, 100
_IN_MEMORY = 2_000  # rows whose kernel is kept: 32 MB
_CHUNK_VALUES = 1 << 20


def kernel_kmeans(points: FloatArray, k: int, seed: int) -> IntArray:
    """Multi-kernel k-means with K(x, y) = sum over gamma in (0.1, 1, 10) of exp(-gamma |x - y|^2).

    CSAL-3D, Zhu et al., MICCAI 2025, the paragraph on URDS; see `docs/selection.md`. The points are scaled so
    that the median squared distance (of at most 2,000 rows) is 1, else the kernels say that all are alike or
    all are strangers. k-means++ starts, 5 of them up to 2,000 rows and one above; the one with the smallest
    sum of squares counts. Kernels are worked out in blocks. Above 20,000 rows the clusters are those of a
    seeded sample of 2,000 (10 k if that is more, 20,000 at most), and every row joins the nearest centre: the
    centres lie in the span of the sample (a Nystroem approximation).

    Returns:
        Labels (N,) of at most `k` clusters, numbered by falling size, then by their lowest row.
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
        some = min(max(_IN_MEMORY, 10 * k), MAX_EXACT)
        k = min(k, some)
        sample = points[np.sort(rng.choice(len(points), some, replace=False))]
        centres = _best_of(sample, k, rng)
        return numbered_by_size(_nearest(points, sample, centres, k)[0])


def _scaled(points: FloatArray, rng: np.random.Generator) -> FloatArray:
    some = points
    if len(points) > _IN_MEMORY:
        some = points[rng.choice(len(points), _IN_MEMORY, replace=False)]
    squared = pdist(some, "sqeuclidean")
    scale = float(np.median(squared)) or float(squared.mean()) or 1.0
    return points / np.sqrt(scale)


def _kernel(points: FloatArray, others: FloatArray) -> FloatArray:
    squared = (points * points).sum(axis=1)[:, None] + (others * others).sum(axis=1) - 2 * points @ others.T
    np.maximum(squared, 0.0, out=squared)
    wide = np.exp(-GAMMAS[0] * squared)
    middle = _tenth_power(wide)  # each gamma is ten times the one before, and exp is what takes the time
    return np.asarray(wide + middle + _tenth_power(middle))


def _tenth_power(values: FloatArray) -> FloatArray:
    square = values * values
    eighth = square * square
    eighth *= eighth
    return np.asarray(eighth * square)


def _best_of(points: FloatArray, k: int, rng: np.random.Generator) -> IntArray:
    starts = _STARTS if len(points) <= _IN_MEMORY else 1
    tries = [_lloyd(points, _seeds(points, k, rng), k) for _ in range(starts)]
    return min(tries, key=lambda found: found[1])[0]  # the first of those that tie


def _seeds(points: FloatArray, k: int, rng: np.random.Generator) -> IntArray:
    """k-means++ in the kernel's space: labels (N,) by the nearest of k rows drawn far from each other."""
    labels = np.zeros(len(points), dtype=np.int64)
    nearest = np.full(len(points), np.inf)
    at = int(rng.integers(len(points)))
    for number in range(k):
        if number:
            total = nearest.sum()
            chance = nearest / total if total > 0 else None
            at = int(rng.choice(len(points), p=chance))
        reach = np.maximum(2.0 * _SELF - 2.0 * _kernel(points, points[at : at + 1])[:, 0], 0.0)
        reach[at] = 0.0
        labels[reach < nearest] = number
        labels[at] = number
        nearest = np.minimum(nearest, reach)
    return labels


def _lloyd(points: FloatArray, labels: IntArray, k: int) -> tuple[IntArray, float]:
    """Labels (N,) that no longer change, or after 100 steps, and their sum of squares."""
    kept = _kernel(points, points) if len(points) <= _IN_MEMORY else None
    for _ in range(_STEPS):
        found, reach = _nearest(points, points, labels, k, kept)
        if (found == labels).all():
            break
        labels = found
    return labels, float(reach.sum())


def _nearest(
    points: FloatArray, members: FloatArray, labels: IntArray, k: int, kept: FloatArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Nearest centre of each of `points` (n, D) and its squared distance; centres are the means of `members`
    (m, D) with one label. A cluster that lost its members stays empty."""
    one_hot = np.zeros((len(members), k))
    one_hot[np.arange(len(members)), labels] = 1.0
    sizes = one_hot.sum(axis=0)
    means = one_hot / np.maximum(sizes, 1.0)
    own = _products(members, members, means, kept)
    inner = np.where(sizes > 0, (means * own).sum(axis=0), np.inf)
    reach = inner - 2.0 * (own if points is members else _products(points, members, means, kept)) + _SELF
    found = reach.argmin(axis=1)
    return found, np.maximum(reach[np.arange(len(points)), found], 0.0)


def _products(
    points: FloatArray, members: FloatArray, means: FloatArray, kept: FloatArray | None
) -> FloatArray:
    if kept is not None:
        return np.asarray(kept @ means)
    found = np.empty((len(points), means.shape[1]))
    step = max(1, _CHUNK_VALUES // len(members))
    for at in range(0, len(points), step):
        found[at : at + step] = _kernel(points[at : at + step], members) @ means
    return found
