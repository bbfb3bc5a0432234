"""The planes of an image: the image itself, or the axial slices of a volume with their positions.

Volumes are turned as the encoders see them: slices from feet to head, anterior up, the patient's right on the
left. Labels and probabilities take the same way there and back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    io_orientation,
    ornt_transform,
)

from infers.instant.grids import resized
from pool.imaging.images import unit_range
from pool.imaging.volumes import read_volume, to_unit_range

MAX_SLICES = 48  # of a volume on the fine grid, evenly spaced
MAX_COARSE = 16  # of a volume on the coarse grid, evenly spaced among those


@dataclass(frozen=True)
class Planes:
    """The planes of one image.

    :ivar images: n arrays (H, W) float32 in [0, 1], of one size
    :ivar positions: (n,) float32, from 0 at the feet to 1 at the head; empty for a 2-D image
    :ivar shape: of the image's own grid, (W, H) or (W, H, D)
    :ivar affine: (4, 4) of a volume; None for a 2-D image
    """

    images: list[np.ndarray]
    positions: np.ndarray
    shape: tuple[int, ...]
    affine: np.ndarray | None = None

    def of_label(self, label: np.ndarray) -> np.ndarray:
        """Return a label's planes (n, H, W); the label is on the image's own grid, as `read_label` gives it.

        Raises ValueError for another shape.
        """
        if label.shape != self.shape:
            raise ValueError(f"a label of shape {label.shape} does not fit an image of shape {self.shape}")
        if self.affine is None:
            return label.T[None]
        turned = _turned(label, self.affine)
        return turned[_evenly(len(turned), MAX_SLICES)]

    def to_own_grid(self, probabilities: np.ndarray) -> np.ndarray:
        """Interpolate probabilities (n, g, g, K) to the image's own grid: (K, *shape) float32."""
        slices = list(self._own_slices(probabilities))
        if self.affine is None:
            return np.ascontiguousarray(slices[0].transpose(2, 1, 0))
        channels = range(probabilities.shape[-1])
        return np.stack([self._turned_back(np.stack([plane[..., k] for plane in slices])) for k in channels])

    def label_of(self, probabilities: np.ndarray, classes: Sequence[int]) -> np.ndarray:
        """Return the likeliest class of each pixel or voxel, (*shape) uint8.

        :param probabilities: (n, g, g, 1 + classes), background first
        :param classes: values of the structures
        """
        values = np.array([0, *classes], np.uint8)
        labels = np.stack([values[plane.argmax(axis=-1)] for plane in self._own_slices(probabilities)])
        return np.ascontiguousarray(labels[0].T) if self.affine is None else self._turned_back(labels)

    def _own_slices(self, probabilities: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the planes (H, W, K) at the size of the image, slices between two others by interpolation."""
        if self.affine is None:
            yield resized(probabilities, (self.shape[1], self.shape[0]))[0]
            return
        superior, anterior, right = _turned_shape(self.shape, self.affine)
        for place in np.linspace(0, len(probabilities) - 1, superior):
            below, share = int(place), place - int(place)
            above = min(below + 1, len(probabilities) - 1)
            plane = (1 - share) * probabilities[below] + share * probabilities[above]
            yield resized(plane[None], (anterior, right))[0]

    def _turned_back(self, slices: np.ndarray) -> np.ndarray:
        """Undo `_turned`."""
        ras = slices.transpose(2, 1, 0)[::-1, ::-1]
        back = ornt_transform(axcodes2ornt("RAS"), io_orientation(self.affine))
        return np.ascontiguousarray(apply_orientation(ras, back))


def read_planes(
    path: str | os.PathLike[str], dimensions: int, modality: str = "mr", channels: int | None = None
) -> Planes:
    """Read an image as planes: at most `MAX_SLICES` of a volume, evenly spaced.

    :param dimensions: 2 or 3
    :param modality: ct or mr, for volumes
    :param channels: required number of channels of a volume; None for any

    Raises ImageError.
    """
    if dimensions == 2:
        image = unit_range(path)
        return Planes([image], np.empty(0, np.float32), image.shape[::-1])
    volume, affine = read_volume(path, channels)
    turned = _turned(to_unit_range(volume, modality).mean(axis=0), affine)
    chosen = _evenly(len(turned), MAX_SLICES)
    positions = (chosen / max(len(turned) - 1, 1)).astype(np.float32)
    images = [np.ascontiguousarray(turned[k].clip(0, 1)) for k in chosen]
    return Planes(images, positions, volume.shape[1:], affine)


def coarse_slices(count: int) -> np.ndarray:
    """Return which of `count` planes are kept on the coarse grid."""
    return _evenly(count, MAX_COARSE)


def _to_ras(affine: np.ndarray) -> np.ndarray:
    return ornt_transform(io_orientation(affine), axcodes2ornt("RAS"))


def _turned(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turn (W, H, D) to slices (D', H', W'), as described above."""
    return apply_orientation(volume, _to_ras(affine))[::-1, ::-1].transpose(2, 1, 0)


def _turned_shape(shape: tuple[int, ...], affine: np.ndarray) -> tuple[int, ...]:
    return _turned(np.broadcast_to(np.uint8(0), shape), affine).shape


def _evenly(count: int, most: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)
