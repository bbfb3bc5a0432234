"""Principal components of a pool's features."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from strategies.selectors.rules.checks import FloatArray

COUNT = 16
_SPARE = 16  # further directions that make the iteration converge
_ITERATIONS = 6


def principal_components(points: FloatArray, count: int = COUNT) -> FloatArray:
    """Return the first `count` principal components (N, count) of `points` (N, D), not whitened.

    Points with at most `count` columns are returned unchanged, since distances would be the same. By subspace
    iteration from fixed directions: exact where N or D is at most count + 16, and deterministic. The features
    are not copied.
    """
    if points.shape[1] <= count or not len(points):
        return points
    middle = points.mean(axis=0)
    basis = np.random.default_rng(0).standard_normal((points.shape[1], min(points.shape[1], count + _SPARE)))
    with threadpool_limits(limits=1):
        for _ in range(_ITERATIONS):
            basis = np.linalg.qr(points.T @ (points @ basis - middle @ basis))[0]
        scores = points @ basis - middle @ basis
        directions = np.linalg.eigh(scores.T @ scores)[1]
        components: FloatArray = scores @ directions[:, : -count - 1 : -1]
    return components
