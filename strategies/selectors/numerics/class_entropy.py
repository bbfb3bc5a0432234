"""Entropy of a segmentation per class of one image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.mean_entropy import entropy_map
from strategies.selectors.rules.checks import FloatArray


def class_entropies(probabilities: npt.ArrayLike) -> FloatArray:
    """Return the predictive entropy weighted by each foreground class, averaged over all pixels or voxels.

    For class c: the mean over u of H(u) p_c(u), with H as in `mean_entropy`; high where the model is unsure
    and considers this class. The score that ClaSP PE (Lueth et al., arXiv 2601.13677) stratifies by.

    Args:
        probabilities: (C, ...), after softmax, channel 0 the background; or (1, ...), the probability of the
            foreground.

    Returns:
        (C - 1,) nats, or (1,) for one channel.

    Raises:
        ValueError: as in `mean_entropy`.
    """
    array = np.asarray(probabilities)
    unsure = entropy_map(array)
    foreground = array if len(array) == 1 else array[1:]
    return np.array([float((unsure * np.clip(p, 0.0, 1.0)).mean()) for p in foreground])
