"""Embedding of volumes by a 2-D encoder: mean of its features over axial slices with content."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from skimage.filters import threshold_otsu

from infers.encoders.base import Encoder
from infers.encoders.images import resize
from infers.encoders.keys import CONTENT, MAX_SLICES
from pool.imaging.volumes import read_volume, to_unit_range

SIDE = 224  # slices are resized to this square, so that memory is bounded


def axial_slices(path: str | os.PathLike[str], modality: str, channels: int | None = None) -> np.ndarray:
    """Read 1 to 16 axial slices (n, 224, 224) float32 in [0, 1], from feet to head.

    Axial by the affine: slices of constant height, with anterior up and the patient's right on the left.
    Channels are scaled by `to_unit_range` and averaged. A slice has content if at least 5 % of its voxels are
    above Otsu's threshold of the whole volume; if none has, the fullest is taken.

    :param modality: ct or mr
    :param channels: required number of channels; None for any

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
    """Embed each volume as the mean of its slices' features: (B, dim) float32."""
    rows = [encoder.embed(list(volume)).mean(axis=0) for volume in volumes]
    return np.stack(rows) if rows else np.empty((0, encoder.dim), dtype=np.float32)
