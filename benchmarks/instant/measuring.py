"""One cell: fit on random labels, measure on held-out images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.instant.pool import Case, LabelledPool
from infers.instant.head import Head
from infers.instant.judging import judge, segment
from trainers.instant.fit import fit

BUDGETS = (1, 2, 4, 8, 16)
TEST_SPLIT = 0.2


def measure(pool: LabelledPool, labels: int, seed: int) -> dict[str, Any]:
    """Return Dice at the image's own size on the held-out images, and more.

    The seed draws the held-out images and the order of the others, of which the first are labelled; so the
    labels of a larger budget contain those of a smaller one.

    Returns:
        dice: mean over structures and images, 1 where neither label nor prediction has any; its standard
        deviation over images; validated: the head's own cross-validated Dice; auc: of the probability that an
        image shows anything, None unless some images do and some do not; seconds of the fit with its
        validation.
    """
    chosen, held_out = split(pool, labels, seed)
    started = time.perf_counter()
    head = fit([pool.cases[i].labelled for i in chosen], pool.reduction.key, pool.classes, seed)
    seconds = time.perf_counter() - started
    dice = [_dice(pool, head, int(i)) for i in held_out]
    return {
        "dice": float(np.mean(dice)),
        "dice_std": float(np.std(dice)),
        "validated": head.dice,
        "auc": _auc(pool, head, held_out),
        "seconds": seconds,
    }


def split(pool: LabelledPool, labels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the labelled and the held-out images, as indices."""
    order = np.random.default_rng(seed).permutation(len(pool.cases))
    count = round(TEST_SPLIT * len(order))
    return order[count : count + labels], order[:count]


def _dice(pool: LabelledPool, head: Head, index: int) -> float:
    case = pool.cases[index]
    predicted = case.planes.label_of(segment(head, case.labelled.features), pool.classes)
    return dice_of(case, predicted, pool.classes)


def dice_of(case: Case, predicted: np.ndarray, classes: Sequence[int]) -> float:
    """Return the mean Dice over structures of a label on the image's own grid."""
    values = []
    for value in classes:
        found, true = predicted == value, case.label == value
        total = int(found.sum()) + int(true.sum())
        values.append(2 * int((found & true).sum()) / total if total else 1.0)
    return float(np.mean(values))


def _auc(pool: LabelledPool, head: Head, held_out: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    shows = [bool(pool.cases[i].label.any()) for i in held_out]
    if all(shows) or not any(shows):
        return None
    scores = [judge(head, pool.cases[i].labelled.features).anything for i in held_out]
    return float(roc_auc_score(shows, scores))
