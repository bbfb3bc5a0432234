"""One cell of the comparison: another head, or another way from its grid to the image's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.instant.edges import guided_label, smoothed_label
from benchmarks.instant.heads import Member, boosting, bootstraps, logistic, perceptron, ridge
from benchmarks.instant.measuring import BUDGETS, dice_of, split
from benchmarks.instant.pool import Case, LabelledPool
from infers.instant.head import entropy, mean_entropies
from infers.instant.planes import Planes
from infers.metrics import at_size, score_image
from trainers.instant.labelled import Labelled

DISTANCE_BUDGETS = (4, 16)  # at which HD95 is measured, which takes longer than all else
FAILED = 0.5  # mean Dice of an image below which it failed


class Variant(NamedTuple):
    """A way to a label.

    :ivar label: makes a label on the image's own grid from the probabilities; bilinear by default
    """

    fit: Callable[[Sequence[Labelled], Sequence[int], int], list[Member]]
    budgets: tuple[int, ...] = BUDGETS
    label: Callable[[Planes, np.ndarray, Sequence[int]], np.ndarray] = Planes.label_of


VARIANTS = {
    "perceptron": Variant(perceptron),
    "ridge": Variant(ridge),
    "logistic regression": Variant(logistic),
    "5 bootstraps": Variant(bootstraps, (4, 8)),
    "smoothed": Variant(perceptron, DISTANCE_BUDGETS, smoothed_label),
    "guided filter": Variant(perceptron, DISTANCE_BUDGETS, guided_label),
    "boosting": Variant(boosting),
}


def compare(pool: LabelledPool, variant: Variant, labels: int, seed: int) -> dict[str, Any]:
    """Measure a variant on the images that `measure` holds out for the seed, without its use of presence.

    Returns:
        dice: mean over structures and images at the image's own size; failures: images whose mean is below
        `FAILED`; hd95: in pixels at 256 x 256, None for volumes and other numbers of labels than
        `DISTANCE_BUDGETS`; seconds: of the fit, on one core; spearman: of each uncertainty of an image with
        1 - Dice, None where all images have one value.
    """
    chosen, held_out = split(pool, labels, seed)
    started = time.process_time()
    members = variant.fit([pool.cases[i].labelled for i in chosen], pool.classes, seed)
    seconds = time.process_time() - started
    dice, distances, unsure = [], [], []
    for case in (pool.cases[i] for i in held_out):
        shares = np.stack([predict(case.labelled.features) for predict in members])
        label = variant.label(case.planes, shares.mean(axis=0), pool.classes)
        dice.append(dice_of(case, label, pool.classes))
        unsure.append(_uncertainties(shares))
        if case.planes.affine is None and labels in DISTANCE_BUDGETS:
            distances.append(_hd95(case, label, pool.classes))
    return {
        "dice": float(np.mean(dice)),
        "failures": sum(value < FAILED for value in dice),
        "held_out": len(dice),
        "hd95": float(np.mean(distances)) if distances else None,
        "seconds": seconds,
        "spearman": {name: _spearman([u[name] for u in unsure], dice) for name in unsure[0]},
    }


def _hd95(case: Case, label: np.ndarray, classes: Sequence[int]) -> float:
    found, true = (at_size(np.ascontiguousarray(plane.T)) for plane in (label, case.label))
    return float(np.mean(score_image(found, true, classes)["hd95"]))


def _uncertainties(shares: np.ndarray) -> dict[str, float]:
    """Return an image's uncertainties from the probabilities (members, n, g, g, K) of its members."""
    mean, nats = shares.mean(axis=0), entropy(shares.mean(axis=0))
    everywhere, foreground = mean_entropies(mean, nats)
    values = {"entropy": everywhere, "foreground entropy": foreground}
    if len(shares) > 1:
        values["mutual information"] = float(np.mean(nats - np.mean([entropy(s) for s in shares], axis=0)))
    return values


def _spearman(unsure: list[float], dice: list[float]) -> float | None:
    from scipy.stats import spearmanr

    if len(set(unsure)) < 2 or len(set(dice)) < 2:
        return None
    return float(spearmanr(unsure, 1 - np.array(dice)).statistic)
