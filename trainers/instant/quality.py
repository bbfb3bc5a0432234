"""The head's own measured quality: cross-validation over the labels, and the calibration of presence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from infers.instant.head import Head, top_scores
from infers.instant.planes import coarse_slices
from infers.instant.presence import Presence, fit_presence, uncalibrated
from trainers.instant.labelled import Labelled

FOLDS = 3
SHOWN = 0.5  # share of a place from which a label shows a structure there


def cross_validate(
    labelled: Sequence[Labelled], head: Head, fit_members: Callable[[Sequence[Labelled]], Any]
) -> tuple[dict[int, float | None], dict[int, Presence]]:
    """Return by structure the cross-validated Dice on the grid, and the calibration of presence.

    Images of one group are predicted together. Leave-one-out below `FOLDS` groups, else `FOLDS` folds. A
    structure shown by fewer than two images has no Dice. With one group nothing can be validated, and
    presence stays uncalibrated.
    """
    folds = _folds(labelled)
    if len(folds) < 2:
        return dict.fromkeys(head.classes), _calibrate(labelled, head, [])
    predicted: list[Any] = [None] * len(labelled)
    coarse: list[Any] = [None] * len(labelled)
    for fold in folds:
        rest = [item for i, item in enumerate(labelled) if i not in fold]
        part = replace(head, members=fit_members(rest))
        for i in fold:
            predicted[i] = part.predict(labelled[i].features)
            coarse[i] = part.predict(labelled[i].features.coarse())
    quality = {
        value: _dice(labelled, predicted, k) if head.shown[value] >= 2 else None
        for k, value in enumerate(head.classes, start=1)
    }
    return quality, _calibrate(labelled, head, coarse)


def _folds(labelled: Sequence[Labelled]) -> list[set[int]]:
    groups: dict[str, list[int]] = {}
    for i, item in enumerate(labelled):
        groups.setdefault(item.group or f"\0{i}", []).append(i)
    count = min(len(groups), FOLDS)
    return [set(sum(list(groups.values())[k::count], [])) for k in range(count)]


def _dice(labelled: Sequence[Labelled], predicted: Sequence[np.ndarray], k: int) -> float:
    """Return the mean Dice of class k over images; 1 where neither has any."""
    values = []
    for item, shares in zip(labelled, predicted, strict=True):
        true, found = item.shares.argmax(axis=-1) == k, shares.argmax(axis=-1) == k
        total = int(true.sum()) + int(found.sum())
        values.append(2 * int((true & found).sum()) / total if total else 1.0)
    return float(np.mean(values))


def _calibrate(
    labelled: Sequence[Labelled], head: Head, predicted: Sequence[np.ndarray]
) -> dict[int, Presence]:
    """Calibrate the presence of each structure on coarse predictions of heads that had not seen the images.

    :param predicted: (planes, g, g, 1 + classes) of each image; empty if there are none
    """
    positions = np.concatenate([item.features.coarse().positions for item in labelled])
    presence = {}
    for k, value in enumerate(head.classes, start=1):
        shows = np.concatenate([_shows(item.shares, k) for item in labelled])
        if predicted:
            scores = np.concatenate([top_scores(p, head.classes)[value] for p in predicted])
            presence[value] = fit_presence(scores, shows, positions)
        else:
            presence[value] = uncalibrated(shows, positions)
    return presence


def _shows(shares: np.ndarray, k: int) -> np.ndarray:
    """Return 1 for each of an image's coarse planes that shows class k, else 0."""
    return (shares[coarse_slices(len(shares)), ..., k] >= SHOWN).any(axis=(1, 2)).astype(int)
