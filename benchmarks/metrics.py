"""How good a predicted label is, as the paper measures it (arXiv 2601.18532, sections 4.2 and 4.3).

Pictures are compared at one size, with distances in its pixels; volumes on their own grid, in millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from PIL import Image

SIZE = 256  # pixels


def at_size(label: np.ndarray, size: int = SIZE) -> np.ndarray:
    """A label (H, W) resized to (size, size) by nearest neighbour."""
    return np.asarray(Image.fromarray(label.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST))


def score_image(
    prediction: np.ndarray,
    reference: np.ndarray,
    values: Sequence[int],
    spacing: Sequence[float] | None = None,
) -> dict[str, list[float]]:
    """Dice and HD95 per class of one image, both (H, W) or (W, H, D) labels.

    Both empty: Dice 1, HD95 0. One empty, which is counted: Dice 0, HD95 the image's diagonal.

    :param spacing: millimetres per voxel; without it HD95 is in pixels
    """
    pred, ref = (
        torch.from_numpy(np.stack([label == value for value in values]))[None].float()
        for label in (prediction, reference)
    )
    dice = compute_dice(pred, ref, include_background=True, ignore_empty=False)[0]
    steps = list(spacing) if spacing is not None else [1.0] * prediction.ndim
    distance = compute_hausdorff_distance(pred, ref, include_background=True, percentile=95, spacing=steps)[0]
    one_empty = [0] * len(values)
    for i in range(len(values)):
        empty = int(not pred[0, i].any()) + int(not ref[0, i].any())
        if empty:
            one_empty[i] = int(empty == 1)
            distance[i] = math.hypot(*np.multiply(prediction.shape, steps)) * one_empty[i]
    return {"dice": dice.tolist(), "hd95": distance.tolist(), "one_empty": one_empty}


def summarise(images: Mapping[str, dict[str, list[float]]], names: Sequence[str]) -> dict[str, Any]:
    """Means over images and classes, per class, and how many images failed (mean Dice below 0.5)."""
    dice = np.array([image["dice"] for image in images.values()])
    hd95 = np.array([image["hd95"] for image in images.values()])
    return {
        "dice": float(dice.mean()),
        "hd95": float(hd95.mean()),
        "dice_std": float(dice.mean(axis=1).std()),
        "hd95_std": float(hd95.mean(axis=1).std()),
        "dice_per_class": dict(zip(names, dice.mean(axis=0).tolist(), strict=True)),
        "hd95_per_class": dict(zip(names, hd95.mean(axis=0).tolist(), strict=True)),
        "failures": int((dice.mean(axis=1) < 0.5).sum()),
        "one_empty": sum(
            sum(map(int, image["one_empty"])) for image in images.values()
        ),  # structures predicted or present, not both
    }
