"""Predictive entropy of a segmentation of one image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

EPS = 1e-8
# Error of a probability of 0 or 1 in reduced precision.
_TOLERANCE = 1e-2


def mean_entropy(probabilities: npt.ArrayLike) -> float:
    """Return the predictive entropy in nats, averaged over all pixels or voxels.

    Levy et al., arXiv 2601.18532, equations (5) and (6): H(u) = -sum_c p_c(u) log(p_c(u) + 1e-8). One channel
    is the probability of the foreground (Bernoulli); its complement is the second class. Values outside
    [0, 1] by at most 0.01, as reduced precision gives, are clipped.

    Args:
        probabilities: (C, ...), after softmax or sigmoid, of any float type; channels first.

    Raises:
        ValueError: no pixels, or a value that is NaN or not in [0, 1].
    """
    return float(entropy_map(probabilities).mean())


def entropy_map(probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the entropy (...) of each pixel in nats; raises ValueError as `mean_entropy`, its mean."""
    array = np.asarray(probabilities)
    if array.ndim < 1 or array.size == 0:
        raise ValueError(f"probabilities must have shape (channels, ...) with pixels, not {array.shape}")
    total = np.zeros(array.shape[1:])
    for channel in array:  # one at a time: volumes with many classes are large
        values = _in_unit_interval(channel)
        total -= values * np.log(values + EPS)
        if len(array) == 1:
            total -= (1.0 - values) * np.log(1.0 - values + EPS)
    return total


def _in_unit_interval(channel: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(channel, dtype=np.float64)
    low, high = values.min(), values.max()
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise ValueError(f"probabilities must lie in [0, 1], not from {low} to {high}")
    return np.clip(values, 0.0, 1.0)
