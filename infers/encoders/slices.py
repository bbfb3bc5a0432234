"""Volumes for an encoder of pictures: the mean of its features over axial slices with content."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from skimage.filters import threshold_otsu

from infers.encoders.base import Encoder
from infers.encoders.images import resize
from pool.imaging.volumes import read_volume, to_unit_range

CONTENT = 0.05  # of a slice's voxels above Otsu's threshold of the volume, at least
MAX_SLICES = 16  # slices of one volume, evenly spaced over those with content
SIDE = 224  # slices are brought to this square, so that every volume takes the same memory
KEY = f"slices:1:{CONTENT:g}:{MAX_SLICES}"


def slices_key(encoder_key: str, modality: str) -> str:
    """Identifies the encoder together with what it is shown of a volume."""
    return f"{encoder_key}|{KEY}|{modality}"


def axial_slices(path: str | os.PathLike[str], modality: str, channels: int | None = None) -> np.ndarray:
    """Slices (n, 224, 224) float32 in [0, 1] across the body's long axis, feet to head, 1 to 16 of them.

    Axial by the affine: the slices of constant height, up is anterior and left the patient's right. Channels
    are scaled by `to_unit_range` and averaged. A slice has content when 5 % or more of its voxels lie above
    Otsu's threshold of the whole volume; when none has, the fullest is taken.

    :param modality: ct or mr
    :param channels: how many the volume must have, if that matters

    Raises ImageError.
    """
    volume, affine = read_volume(path, channels)
    grey = to_unit_range(volume, modality).mean(axis=0)
    ras = apply_orientation(grey, ornt_transform(io_orientation(affine), axcodes2ornt("RAS")))
    share = (ras > threshold_otsu(ras)).mean(axis=(0, 1))
    chosen = np.flatnonzero(share >= min(CONTENT, share.max()))
    if len(chosen) > MAX_SLICES:
        chosen = chosen[np.linspace(0, len(chosen) - 1, MAX_SLICES).round().astype(int)]
    return np.stack([resize(ras[::-1, ::-1, k].T, SIDE) for k in chosen]).clip(0, 1)


def embed_slices(encoder: Encoder, volumes: Sequence[np.ndarray]) -> np.ndarray:
    """(B, dim) float32: for each volume the mean of its slices' features."""
    rows = [encoder.embed(list(volume)).mean(axis=0) for volume in volumes]
    return np.stack(rows) if rows else np.empty((0, encoder.dim), dtype=np.float32)
