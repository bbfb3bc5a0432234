"""Reading one image of the pool as a volume, CT or MR, with one or several channels.

NIfTI (3-D, or 4-D with the channels last as in the Medical Segmentation Decathlon), NRRD, and the folder of a
DICOM series. Arrays are (C, W, H, D); the affine (4, 4) maps indices to millimetres, right-anterior-superior.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from pool.imaging.errors import ImageError, names_its_file
from pool.imaging.geometry import read_header
from pool.imaging.images import filled, read_array, real
from pool.imaging.names import MODALITIES

MIN_SIDE = 4  # voxels; anything thinner is not a volume
_HOUNSFIELD = (-1024.0, 1024.0)
_PERCENTILES = (1, 99)


@names_its_file
def read_volume(path: str | os.PathLike[str], channels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a volume (C, W, H, D) float32 in its own intensities, and its affine (4, 4).

    :param channels: required number of channels, if any

    Values that are not finite are replaced with a warning, as `images.filled` does. Raises ImageError naming
    the file: unreadable, empty, 2-D or thinner than 4 voxels, wrong number of channels, too many values that
    are not finite, all voxels equal, or without a usable affine.
    """
    array, affine = read_array(path)
    volume = _channels_first(real(array, path), path).astype(np.float32, copy=False)
    if channels is not None and len(volume) != channels:
        raise ImageError(
            f"{path}: has {len(volume)} channels, the app is set to {channels}; "
            f"start it with --conf in_channels {len(volume)}, or remove the image"
        )
    volume = filled(volume, path)
    if volume.min() == volume.max():
        raise ImageError(f"{path}: all voxels have the value {volume.min():g}; replace or remove it")
    return np.ascontiguousarray(volume), checked_affine(affine, path)


def _channels_first(array: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Rearrange what `read_array` returns to (C, W, H, D). Raises ImageError."""
    if array.ndim == 5 and array.shape[3] == 1:  # NIfTI keeps channels on a fifth axis, time on the fourth
        array = array[:, :, :, 0]
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or min(array.shape[:3]) < MIN_SIDE:
        raise ImageError(
            f"{path}: has shape {array.shape}, but this app reads volumes of at least {MIN_SIDE} voxels on "
            "each side; use an app for 2-D images, or remove it"
        )
    return np.moveaxis(array, -1, 0)


def checked_affine(affine: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Return the affine unchanged. Raises ImageError when it is not finite or singular."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError(
            f"{path}: its header gives no voxel size or orientation (the affine is singular); "
            "convert it again from its source, or remove it"
        )
    return affine


@names_its_file
def volume_grid(path: str | os.PathLike[str]) -> tuple[tuple[int, ...], np.ndarray] | None:
    """Return shape (W, H, D) and affine of a volume, or None for a 2-D image. Only the header is read.

    Raises ImageError.
    """
    header = read_header(path)
    if len(header.shape) < 3 or min(header.shape[:3]) < MIN_SIDE:
        return None
    return header.shape[:3], checked_affine(header.affine, path)


def to_unit_range(volume: np.ndarray, modality: str) -> np.ndarray:
    """Scale intensities (C, ...) to float32 in [0, 1] (CSAL-3D, "Experimental Details").

    "ct": [-1024, 1024] HU, clipped. "mr": z-score per channel, clipped to its 1st and 99th percentiles
    and rescaled; where these are equal, minimum and maximum are used. A constant channel
    becomes 0. Raises ValueError for another modality.
    """
    if modality not in MODALITIES:
        raise ValueError(f"modality_rule {modality!r}: choose one of {', '.join(MODALITIES)}")
    if modality == "ct":
        low, high = _HOUNSFIELD
        return ((np.clip(volume, low, high) - low) / (high - low)).astype(np.float32)
    return np.stack([_scale_mr(channel) for channel in volume])


def _scale_mr(channel: np.ndarray) -> np.ndarray:
    if channel.min() == channel.max():
        return np.zeros_like(channel, dtype=np.float32)
    scores = (channel - channel.mean(dtype=np.float64)) / channel.std(dtype=np.float64)
    low, high = np.percentile(scores, _PERCENTILES)
    if high <= low:
        low, high = scores.min(), scores.max()
    return ((np.clip(scores, low, high) - low) / (high - low)).astype(np.float32)


class ReadVolumed(MapTransform):
    """MONAI transform: read a path as a MetaTensor (C, W, H, D) with its affine and `filename_or_obj`.

    :param channels: number of channels of the network; a file with another number raises ImageError
    """

    def __init__(self, keys: KeysCollection, channels: int = 1, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.channels = channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self._read(out[key])
        return out

    def _read(self, path: str | Path) -> MetaTensor:
        volume, affine = read_volume(path, self.channels)
        return MetaTensor(
            torch.from_numpy(volume),
            affine=torch.from_numpy(affine),
            meta={
                "filename_or_obj": os.fspath(path),
                "spatial_shape": volume.shape[1:],
                "own_affine": affine,
            },
        )


class ToUnitRanged(MapTransform):
    """MONAI transform: apply `to_unit_range` to a tensor (C, ...), keeping its metadata.

    :param modality: "ct" or "mr"
    """

    def __init__(self, keys: KeysCollection, modality: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.modality = modality

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            tensor = out[key]
            scaled = torch.from_numpy(to_unit_range(np.asarray(tensor), self.modality))
            out[key] = MetaTensor(scaled).copy_meta_from(tensor) if isinstance(tensor, MetaTensor) else scaled
        return out
