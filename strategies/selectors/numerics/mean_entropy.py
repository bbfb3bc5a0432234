"""How unsure a segmentation is of one image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

EPS = 1e-8
# What reduced precision adds to a probability of 0 or 1.
_TOLERANCE = 1e-2


def mean_entropy(probabilities: npt.ArrayLike) -> float:
    """Predictive entropy in nats, averaged over all pixels or voxels.

    Levy et al., arXiv 2601.18532, equations (5) and (6): H(u) = -sum_c p_c(u) log(p_c(u) + 1e-8). One channel
    is the probability of the foreground (Bernoulli); its complement is the second class. Values that reduced
    precision put a hundredth or less outside [0, 1] are set to the bound.

    Args:
        probabilities: (C, ...), after softmax or sigmoid, of any float type; channels first.

    Raises:
        ValueError: no pixels, or a value that is NaN or not in [0, 1].
    """
    return float(entropy_map(probabilities).mean())


def entropy_map(probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The entropy of each pixel, (...), nats; `mean_entropy` is its mean. Raises ValueError like it."""
    array = np.asarray(probabilities)
    if array.ndim < 1 or array.size == 0:
        raise ValueError(f"probabilities must have shape (channels, ...) with pixels, not {array.shape}")
    total = np.zeros(array.shape[1:])
    for channel in array:  # one at a time: a volume with many classes is large
        values = _in_unit_interval(channel)
        total -= values * np.log(values + EPS)
        if len(array) == 1:
            total -= (1.0 - values) * np.log(1.0 - values + EPS)
    return total


def _in_unit_interval(channel: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(channel, dtype=np.float64)
    low, high = values.min(), values.max()
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise ValueError(f"probabilities must lie in [0, 1], they reach from {low} to {high}")
    return np.clip(values, 0.0, 1.0)
