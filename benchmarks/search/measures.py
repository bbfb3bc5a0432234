"""Measures of a set of labels: what they cover, and how well a head that learnt from them segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.search.data import SearchData
from infers.instant.head import Head
from infers.instant.judging import MIN_LABELS, segment
from strategies.selectors.numerics.components import principal_components
from strategies.selectors.numerics.distances import nearest_distance
from strategies.selectors.numerics.losses import median_distance

SIDE = 32  # places per side of the grid that Dice is measured on
TAIL = 0.1  # share of the images farthest from a label


def measure_labels(
    data: SearchData, chosen: np.ndarray, held_out: np.ndarray, classes: list[int], seed: int
) -> dict[str, Any]:
    """Fit the instant head on the labels of the chosen rows and measure it on the held-out ones.

    Returns:
        dice: mean over held-out patients and structures on the grid of `SIDE` places, a patient's images
        joined, with 1 where neither side has the structure; halves: the same of every second patient;
        positive_dice, the mean over images and the structures that they have; false_positive, the share of
        the images with an empty label on which the head paints (None without any).
    """
    calibrate = len(chosen) >= MIN_LABELS and not data.shows[chosen].all()
    head = data.head(chosen, classes, seed, calibrate)
    counts = np.array([_counts(data, head, int(row)) for row in held_out])
    patients = np.unique([data.patients[row] for row in held_out], return_inverse=True)[1]
    joined = np.zeros((patients.max() + 1, *counts.shape[1:]))
    np.add.at(joined, patients, counts)
    dice, has, empty = _dice(joined).mean(axis=1), counts[..., 2] > 0, ~data.shows[held_out]
    painted = counts[..., 1].any(axis=1)
    return {
        "dice": float(dice.mean()),
        "halves": [float(dice[::2].mean()), float(dice[1::2].mean())],
        "positive_dice": float(_dice(counts)[has].mean()),
        "false_positive": float(painted[empty].mean()) if empty.any() else None,
    }


def _counts(data: SearchData, head: Head, row: int) -> list[tuple[int, int, int]]:
    """Return by structure the number of places that both have, the head has, and the label has."""
    item = data.on_grid(row, SIDE)
    found, true = (a.argmax(axis=-1) for a in (segment(head, item.features), item.shares))
    sizes = []
    for k in range(1, item.shares.shape[-1]):
        one, other = found == k, true == k
        sizes.append((int((one & other).sum()), int(one.sum()), int(other.sum())))
    return sizes


def _dice(counts: np.ndarray) -> np.ndarray:
    """Return Dice of counts (..., 3); 1 where neither side has the structure."""
    total = counts[..., 1] + counts[..., 2]
    return np.where(total > 0, 2 * counts[..., 0] / np.maximum(total, 1), 1.0)


def measure_coverage(
    data: SearchData, pool: np.ndarray, chosen: np.ndarray, budgets: Sequence[int]
) -> list[dict[str, Any]]:
    """Measure without a model what the first labels cover, for each budget.

    Returns:
        non_empty labels; pixels of their structures; mean and tail, the distance of the pool's non-empty
        images to the nearest non-empty label, of all and of the worst tenth, in the features' first principal
        components and in units of the median distance of two images (None without such a label).
    """
    points = principal_components(data.vectors[pool])
    unit, shows = median_distance(points), data.shows[pool]
    place = {int(row): at for at, row in enumerate(pool)}
    rows = []
    for budget in budgets:
        first = chosen[:budget]
        anchors = [place[int(row)] for row in first if data.shows[row]]
        own = {"non_empty": len(anchors), "pixels": int(data.pixels[first].sum())}
        reach = np.sort(nearest_distance(points[shows], points[anchors])) / unit if anchors else None
        tail = None if reach is None else float(reach[-max(1, round(TAIL * len(reach))) :].mean())
        mean = None if reach is None else float(reach.mean())
        rows.append({**own, "mean": mean, "tail": tail})
    return rows
