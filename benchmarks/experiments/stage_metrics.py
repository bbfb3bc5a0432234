"""Metrics of one stage of a cell, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from infers.metrics import dice_per_image


def value_of(stage: Mapping[str, Any], metric: str) -> float | None:
    """Return a metric of a stage; None if it was not measured."""
    if metric == "worst":
        return worst_tenth(stage)
    if metric == "painted":
        return painted_empty(stage)
    return dice_of_all(stage) if metric == "all_dice" else stage.get(metric)


def painted_empty(stage: Mapping[str, Any]) -> float | None:
    """Return the share of the held-out images without any structure on which the model paints one.

    None if every image has a structure.
    """
    empty = [scores for scores in stage["images"].values() if not any(scores["present"])]
    return float(np.mean([any(scores["one_empty"]) for scores in empty])) if empty else None


def dice_of_all(stage: Mapping[str, Any]) -> float | None:
    """Return the mean Dice over all held-out images and structures, 1 where neither side has a structure.

    None if every image has every structure, or the stage's own Dice counts all.
    """
    images = list(stage["images"].values())
    if stage["metric"] == "class_dice" or all(all(scores["present"]) for scores in images):
        return None
    return float(np.mean([scores["dice"] for scores in images]))


def worst_tenth(stage: Mapping[str, Any]) -> float:
    """Return the mean Dice of the worst tenth (at least one) of the held-out images."""
    dice = sorted(dice_per_image(stage["images"], stage["metric"]))
    return float(np.mean(dice[: math.ceil(len(dice) / 10)]))
