"""Losses of a set of labelled images, which greedy rules lower pick by pick."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from strategies.selectors.numerics.distances import distances, nearest_distance
from strategies.selectors.numerics.neighbours import mean_nearest
from strategies.selectors.rules.checks import FloatArray

TAIL = 0.1  # share of the pool that is far from all labels
_TINY = 1e-12


class Loss(Protocol):
    """A number that is at least 0 and falls as points are added to the set."""

    def after(self, points: FloatArray) -> FloatArray:
        """Return the loss (n,) if one of `points` (n, D) were added."""

    def add(self, point: FloatArray) -> None:
        """Add a point (D,)."""


class Coverage:
    """Mean distance of a pool to its nearest labelled point, plus that of the worst tenth (CVaR).

    :param pool: (S, D), :param weights: (S,) at least 0
    :param labelled: (L, D)
    :param tail: weight of the worst tenth, at least 0
    """

    def __init__(
        self, pool: FloatArray, weights: FloatArray, labelled: FloatArray, tail: float = 1.0
    ) -> None:
        self._pool, self._weights, self._tail = pool, weights, tail
        self._nearest = nearest_distance(pool, labelled)
        self._total = max(float(weights.sum()), _TINY)

    def after(self, points: FloatArray) -> FloatArray:
        """Return the loss (n,) if one of `points` (n, D) were added."""
        mean, tail = self.parts(points)
        return mean + tail

    def parts(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return both weighted terms of the loss (n,), (n,) if one of `points` (n, D) were added."""
        from scipy.spatial.distance import cdist  # slow to import

        from strategies.selectors.numerics.tail_mean import tail_means

        reach = cdist(points, self._pool)
        np.minimum(reach, self._nearest, out=reach)
        mean = np.einsum("ij,j->i", reach, self._weights) / self._total
        if not self._tail:
            return mean, np.zeros(len(points))
        return mean, self._tail * tail_means(reach, self._weights, TAIL)

    def add(self, point: FloatArray) -> None:
        """Add a point (D,)."""
        np.minimum(self._nearest, distances(self._pool, point), out=self._nearest)


class Herding:
    """Share of a pool that labelled points do not represent, by a Gaussian kernel.

    :param pool: (S, D), :param weights: (S,) at least 0
    :param labelled: (L, D)
    :param width: distance at which the similarity exp(-(d / width)^2) has fallen to 1 / e
    """

    def __init__(self, pool: FloatArray, weights: FloatArray, labelled: FloatArray, width: float) -> None:
        self._pool, self._weights, self._square = pool, weights, max(width, _TINY) ** 2
        self._best = self._similarity(nearest_distance(pool, labelled) ** 2)
        self._total = max(float(weights.sum()), _TINY)

    def after(self, points: FloatArray) -> FloatArray:
        """Return the loss (n,) if one of `points` (n, D) were added."""
        from scipy.spatial.distance import cdist  # slow to import

        best = self._similarity(cdist(points, self._pool, "sqeuclidean"))
        np.maximum(best, self._best, out=best)
        missed: FloatArray = np.einsum("ij,j->i", np.subtract(1, best, out=best), self._weights) / self._total
        return missed

    def now(self) -> float:
        """Return the present loss."""
        return float(((1 - self._best) * self._weights).sum() / self._total)

    def add(self, point: FloatArray) -> None:
        """Add a point (D,)."""
        np.maximum(self._best, self._similarity(distances(self._pool, point) ** 2), out=self._best)

    def _similarity(self, squares: FloatArray) -> FloatArray:
        """Return the kernel of squared distances, in their place."""
        return np.exp(np.divide(squares, -self._square, out=squares), out=squares)


def median_distance(points: FloatArray) -> float:
    """Return the median distance of two of `points` (S, D), all pairs in memory; 0 for fewer than two."""
    from scipy.spatial.distance import pdist  # slow to import

    return float(np.median(pdist(points))) if len(points) > 1 else 0.0


def least_distance(points: FloatArray) -> float:
    """Return the smallest distance between two of `points` (L, D); inf for fewer than two."""
    return float(mean_nearest(points, 1).min()) if len(points) > 1 else np.inf
