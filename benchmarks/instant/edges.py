"""Ways from probabilities on a grid to a label on the image's own grid, beside bilinear interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.ndimage import uniform_filter

from infers.instant.grids import smoothed
from infers.instant.planes import Planes

RADIUS = 8  # pixels: a place of the 64 x 64 grid at 512 x 512
FLAT = 1e-2  # variance of the image below which it counts as flat


def smoothed_label(planes: Planes, probabilities: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Return the likeliest class (*shape) uint8 of smoothed probabilities (n, g, g, 1 + classes)."""
    return planes.label_of(smoothed(probabilities), classes)


def guided_label(planes: Planes, probabilities: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Return the likeliest class (W, H) uint8 along the edges of a 2-D image.

    He, Sun and Tang, "Guided Image Filtering" (2013), equations 5, 6 and 8, after bilinear interpolation,
    with the image as guide.

    :param probabilities: (1, g, g, 1 + classes), background first

    Raises ValueError for a volume.
    """
    if planes.affine is not None:
        raise ValueError("the guided filter is for 2-D images")
    mean = partial(uniform_filter, size=2 * RADIUS + 1, mode="nearest")
    guide = planes.images[0].T.astype(np.float64)
    centre = mean(guide)
    variance = mean(guide * guide) - centre**2
    filtered = []
    for plane in planes.to_own_grid(probabilities).astype(np.float64):
        average = mean(plane)
        slope = (mean(guide * plane) - centre * average) / (variance + FLAT)
        filtered.append(mean(slope) * guide + mean(average - slope * centre))
    return np.array([0, *classes], np.uint8)[np.argmax(filtered, axis=0)]
