"""Metrics of predicted labels, as in the paper (arXiv 2601.18532, sections 4.2 and 4.3).

2-D images are compared at one size, with distances in its pixels; volumes on their own grid, in millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.utils import affine_to_spacing
from monai.metrics import compute_dice, compute_hausdorff_distance
from PIL import Image

from pool.imaging.labels import read_label
from pool.imaging.volumes import volume_grid

SIZE = 256  # pixels; 2-D predictions and references are compared at this size
METRICS = ("class_dice", "image_dice")  # allowed values of a bundle's `metric`


def at_size(label: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Resize a label (H, W) to (size, size) by nearest neighbour."""
    return np.asarray(Image.fromarray(label.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST))


def score_image(
    prediction: np.ndarray,
    reference: np.ndarray,
    values: Sequence[int],
    spacing: Sequence[float] | None = None,
) -> dict[str, list[float]]:
    """Return Dice and HD95 per class of one image, both labels (H, W) or (W, H, D).

    Both empty: Dice 1, HD95 0. One empty (counted in `one_empty`): Dice 0, HD95 the image's diagonal.
    `present` is 1 for classes in the reference.

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
    present = ref[0].flatten(1).any(dim=1).float()
    return {
        "dice": dice.tolist(),
        "hd95": distance.tolist(),
        "one_empty": one_empty,
        "present": present.tolist(),
    }


def score_files(
    prediction: str | Path, reference: str | Path, image: str | Path, labels: Mapping[str, int]
) -> dict[str, list[float]]:
    """Run `score_image` on two label files of one image, at the size or on the grid described above.

    Raises LabelError for a label that does not fit the image.
    """
    predicted, true = (read_label(path, labels, image) for path in (prediction, reference))
    if grid := volume_grid(image):
        return score_image(predicted, true, list(labels.values()), affine_to_spacing(grid[1]).tolist())
    predicted, true = (at_size(np.ascontiguousarray(label.T)) for label in (predicted, true))
    return score_image(predicted, true, list(labels.values()))


def counted(images: Mapping[str, dict[str, list[float]]], metric: str) -> np.ndarray:
    """Return the classes that count for a metric, (images, classes) bool; ValueError if it is unknown."""
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}: choose one of {', '.join(METRICS)}")
    if metric == "image_dice":
        return np.array([image["present"] for image in images.values()]) > 0
    return np.ones((len(images), len(next(iter(images.values()))["dice"])), bool)


def dice_per_image(images: Mapping[str, dict[str, list[float]]], metric: str) -> list[float]:
    """Return each image's mean Dice over the classes that count; images where none does are skipped."""
    return [
        float(np.array(image["dice"])[has].mean())
        for image, has in zip(images.values(), counted(images, metric), strict=True)
        if has.any()
    ]


def summarise(
    images: Mapping[str, dict[str, list[float]]], names: Sequence[str], metric: str = "class_dice"
) -> dict[str, Any]:
    """Summarise scores: means over images and classes, means per class, and failures (mean Dice below 0.5).

    :param images: results of `score_image` by image
    :param metric: "class_dice" averages Dice over all classes (X-rays); "image_dice" averages per image over
        the classes in its reference, then over images (brain). The latter skips images without any class; a
        class in no image gets None.

    Raises ValueError for another metric, and if "image_dice" has no image left.
    """
    counts, per_image = counted(images, metric), dice_per_image(images, metric)
    if not per_image:
        raise ValueError("no reference has any class: image_dice has nothing to measure")
    dice = np.array([image["dice"] for image in images.values()])
    hd95 = np.array([image["hd95"] for image in images.values()])
    per_class = [
        float(values[has].mean()) if has.any() else None for values, has in zip(dice.T, counts.T, strict=True)
    ]
    return {
        "metric": metric,
        "dice": float(np.mean(per_image)),
        "hd95": float(hd95.mean()),
        "dice_std": float(np.std(per_image)),
        "hd95_std": float(hd95.mean(axis=1).std()),
        "dice_per_class": dict(zip(names, per_class, strict=True)),
        "hd95_per_class": dict(zip(names, hd95.mean(axis=0).tolist(), strict=True)),
        "failures": sum(value < 0.5 for value in per_image),
        "one_empty": sum(
            sum(map(int, image["one_empty"])) for image in images.values()
        ),  # structures either predicted or present, but not both
    }
