"""A weight-free encoder: gradient histograms and intensity statistics at several scales.

It needs no download and no network, so a server can always start with it. Histograms of oriented gradients
are Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005 (L2-Hys blocks); the
grids of means follow the spatial pyramid of Lazebnik, Schmid and Ponce, CVPR 2006.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infers.encoders.base import StagedEncoder
from infers.encoders.dense import Pyramid
from infers.encoders.descriptor_grid import KEY, DescriptorGrid
from infers.encoders.images import resize

SIDE = 128
GRIDS = (1, 2, 4, 8)
BINS = 16
# (side of the image, side of a cell in its pixels, cells per block side)
HOG_SCALES = ((32, 16, 2), (64, 16, 2), (128, 32, 1))
# Fixed factors, measured on the 138 chest radiographs of the Montgomery set: gradients and intensities
# then each contribute half of the total variance over the images, so neither dominates distances.
WEIGHTS = {"hog": 2.5, "grid": 4.0, "histogram": 7.8}


class Descriptor(StagedEncoder):
    """HOG and intensity statistics as an encoder.

    Example:
        >>> Descriptor().embed([np.zeros((40, 60), np.float32)]).shape
        (1, 689)
    """

    key = "descriptor:1"
    name = "descriptor"
    dense_key = KEY

    def __init__(self) -> None:
        self.dim = len(describe(np.zeros((SIDE, SIDE), dtype=np.float32)))

    def prepare(self, image: np.ndarray) -> np.ndarray:
        return describe(image)

    def forward(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(prepared)

    def dense(self, images: Sequence[np.ndarray]) -> list[Pyramid]:
        """Compute features at each place of the images; see `DenseEncoder.dense`."""
        return DescriptorGrid().dense(images)


def describe(image: np.ndarray) -> np.ndarray:
    """Compute the descriptor (dim,) of one image (H, W): its groups weighted by `WEIGHTS` and joined."""
    return np.concatenate([WEIGHTS[name] * values for name, values in groups(image).items()])


def groups(image: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the unweighted groups of one image (H, W) in [0, 1], each a float32 vector of fixed length.

    Each is divided by the square root of its number of parts, so its norm is at most about 1.
    """
    small = resize(image, SIDE)
    return {"hog": _gradients(image), "grid": _grid(small), "histogram": _histogram(small)}


def _gradients(image: np.ndarray) -> np.ndarray:
    from skimage.feature import hog  # slow to import

    parts = []
    for side, cell, block in HOG_SCALES:
        values = hog(
            resize(image, side),
            orientations=9,
            pixels_per_cell=(cell, cell),
            cells_per_block=(block, block),
            block_norm="L2-Hys",
        )
        blocks = values.size / (9 * block * block)
        parts.append(values / np.sqrt(blocks * len(HOG_SCALES)))
    return np.concatenate(parts).astype(np.float32)


def _grid(small: np.ndarray) -> np.ndarray:
    """Compute mean and standard deviation of the cells of each grid, coarse to fine."""
    parts = []
    for cells in GRIDS:
        blocks = small.reshape(cells, SIDE // cells, cells, SIDE // cells)
        for values in (blocks.mean(axis=(1, 3)), blocks.std(axis=(1, 3))):
            parts.append(values.ravel() / (cells * np.sqrt(len(GRIDS))))
    return np.concatenate(parts).astype(np.float32)


def _histogram(small: np.ndarray) -> np.ndarray:
    """Compute the share of pixels below each of the 15 bounds between 16 grey levels.

    The distance of such cumulative histograms (Cramer's) grows with how far greys moved; that of plain
    histograms is as large for a slight change of exposure as for any other.
    """
    counts, _ = np.histogram(small, bins=BINS, range=(0.0, 1.0))
    below = np.cumsum(counts)[:-1] / counts.sum()
    return (below / np.sqrt(BINS)).astype(np.float32)
