"""Dense features without weights: intensities, gradients and structure tensors at several scales.

Gaussian derivatives and structure tensors as local descriptors: Weickert, "Anisotropic diffusion in image
processing", 1998; the same family of features as in ilastik (Berg et al., Nature Methods 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infers.encoders.base import checked
from infers.encoders.dense import Pyramid
from infers.encoders.images import resize

PLACES = 64  # largest number of places per side
# (side of the image, standard deviation of the Gaussians in its pixels): each scale is twice the one before
SCALES = ((256, 1.0), (256, 2.0), (128, 2.0), (64, 2.0), (32, 2.0), (16, 2.0))
KEY = "descriptor-grid:1"


class DescriptorGrid:
    """Dense features computed from grey values alone, on one grid per scale.

    :param instead_of: key of an encoder without dense features, for which this one stands in

    Example:
        >>> [grid.shape for grid in DescriptorGrid().dense([np.zeros((40, 60), np.float32)])[0]][:2]
        [(64, 64, 8), (64, 64, 8)]
    """

    def __init__(self, instead_of: str = "") -> None:
        self.dense_key = f"{KEY}|{instead_of} has no dense features" if instead_of else KEY

    def dense(self, images: Sequence[np.ndarray]) -> list[Pyramid]:
        """Compute the pyramids; see `DenseEncoder.dense`."""
        return [_pyramid(checked(image, index)) for index, image in enumerate(images)]


def _pyramid(image: np.ndarray) -> Pyramid:
    small = resize(image, SCALES[0][0])
    low, high = np.percentile(small, (1, 99))
    small = np.clip((small - low) / max(high - low, 1e-3), 0, 1)
    return [_grid(resize(small, side), sigma) for side, sigma in SCALES]


def _grid(image: np.ndarray, scale: float) -> np.ndarray:
    """Compute the features (g, g, 8) of an image at one scale; derivatives are scale-normalised."""
    from scipy.ndimage import gaussian_filter

    def smooth(values: np.ndarray, sigma: float, order: tuple[int, int] = (0, 0)) -> np.ndarray:
        return gaussian_filter(values, sigma, order=order, mode="nearest")

    grey = smooth(image, scale)
    down, right = (scale * smooth(image, scale, order) for order in ((1, 0), (0, 1)))
    laplacian = scale**2 * (smooth(image, scale, (2, 0)) + smooth(image, scale, (0, 2)))
    variance = smooth(image**2, scale) - grey**2
    tensor = [smooth(product, scale) for product in (down * down, right * right, down * right)]
    root = np.hypot(tensor[0] - tensor[1], 2 * tensor[2])
    trace = tensor[0] + tensor[1]
    channels = (
        grey,
        np.hypot(down, right),
        down,
        right,
        laplacian,
        np.sqrt(np.maximum(variance, 0)),
        np.sqrt(np.maximum(trace + root, 0) / 2),
        np.sqrt(np.maximum(trace - root, 0) / 2),
    )
    step = max(len(image) // PLACES, 1)
    return np.stack(channels, axis=-1)[step // 2 :: step, step // 2 :: step].astype(np.float32)
