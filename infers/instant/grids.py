"""Resizing of grids of values: (n, h, w, C) to (n, g, g, C), bilinear, averaging where it shrinks."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional

COARSE, FINE = 16, 64  # places per side of the grids of features
SMOOTHING = 1.0  # places; removes specks


def resized(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize (n, h, w, C) of any float type to (n, *shape, C) float32, antialiased."""
    if values.shape[1:3] == shape:
        return values.astype(np.float32, copy=False)
    planes = torch.from_numpy(np.moveaxis(values.astype(np.float32, copy=False), -1, 1))
    out = functional.interpolate(planes, shape, mode="bilinear", align_corners=False, antialias=True)
    return np.ascontiguousarray(np.moveaxis(out.numpy(), 1, -1))


def coarser(values: np.ndarray, side: int = COARSE) -> np.ndarray:
    """Average (n, g, g, C) over squares to (n, side, side, C), of the same type; `side` divides g."""
    n, g, _, channels = values.shape
    step = g // side
    blocks = values.reshape(n, side, step, side, step, channels)
    return blocks.mean(axis=(2, 4), dtype=np.float32).astype(values.dtype)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Smooth each plane and channel of (n, g, g, C) by a Gaussian of `SMOOTHING` places."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, (0, SMOOTHING, SMOOTHING, 0), mode="nearest"))


def label_grid(label: np.ndarray, classes: list[int], side: int = FINE) -> np.ndarray:
    """Compute the share of each class at each place of a grid.

    :param label: (n, H, W) planes of values, 0 is background
    :param classes: values of the structures

    Returns (n, side, side, 1 + classes) float16, background first; other values count as background.
    """
    masks = np.stack([label == value for value in classes], axis=-1)
    shares = np.stack([resized(plane[None], (side, side))[0] for plane in masks]).clip(0, 1)
    return (
        np.concatenate([1 - shares.sum(axis=-1, keepdims=True), shares], axis=-1).clip(0).astype(np.float16)
    )
