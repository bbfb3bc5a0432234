"""A fallible annotator: some labels are drawn too large or too small."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import expand_labels

from infers.metrics import SIZE
from pool.imaging.label_writer import write_label
from pool.imaging.labels import read_label
from pool.imaging.volumes import volume_grid

WIDTH = 8  # error of a wrong outline, in pixels at 256
WIDTH_MM = 1.0  # the same for volumes, in mm


def drawn_wrongly(image: str, share: float, seed: int) -> bool | None:
    """Decide how the annotator draws an image: None correctly, True too large, False too small.

    Deterministic in the image and the seed, so that all methods get the same label of an image.
    """
    first, second = np.random.default_rng(
        int.from_bytes(hashlib.sha256(f"{seed} {image}".encode()).digest()[:8], "big")
    ).random(2)
    return bool(second < 0.5) if first < share else None


def wrong_label(label: np.ndarray, too_large: bool, width: float) -> np.ndarray:
    """Grow the structures of `label` into the background by `width` pixels, or shrink them.

    `label` has any number of dimensions and integer values. A structure that would vanish stays unchanged.
    """
    if too_large:
        return np.asarray(expand_labels(label, width), label.dtype)
    inner = np.where(distance_transform_edt(label > 0) > width, label, 0)
    for value in np.setdiff1d(np.unique(label), np.unique(inner)):
        inner[label == value] = value
    return np.asarray(inner, label.dtype)


def write_wrong_label(
    path: Path, image: Path, true: Path, labels: Mapping[str, int], too_large: bool
) -> None:
    """Write the label that a careless annotator would draw; the file name determines the format."""
    label, grid = read_label(true, labels, image), volume_grid(image)
    if grid is None:
        width, affine = WIDTH * max(label.shape) / SIZE, np.eye(4)
    else:
        affine = grid[1]
        width = WIDTH_MM / float(np.linalg.norm(affine[:3, :3], axis=0).mean())
    write_label(path, wrong_label(label, too_large, width), affine, labels, {})
