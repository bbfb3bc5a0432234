"""Labels that a method saves: how many it needs for the Dice that random labels reach at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.experiments.statistics import MIN_SEEDS, labels_needed

_RESAMPLES = 2000


@dataclass(frozen=True)
class LabelsNeeded:
    """Labels needed, with a 95 % bootstrap interval over seeds; infinite where the curve never gets there."""

    labels: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        ends = "" if self.low is None or self.high is None else f" [{_shown(self.low)}, {_shown(self.high)}]"
        return f"{_shown(self.labels)}{ends}"


def needed_for_last(labels: Sequence[int], ours: np.ndarray, theirs: np.ndarray) -> LabelsNeeded:
    """Return the labels after which the mean of our curves first has the last Dice of the mean of theirs.

    Seeds are resampled, the same for both. Fewer than five seeds have no interval.

    :param ours: Dice (seeds, labels) of the method
    :param theirs: the same of random labels, paired by seed
    """

    def needed(seeds: np.ndarray) -> float:
        last = theirs[seeds].mean(axis=0)[-1]  # rounded as ours: equal curves need equally many labels
        at = labels_needed(labels, ours[seeds].mean(axis=0).tolist(), float(last))
        return math.inf if at is None else at

    count = len(ours)
    mean = needed(np.arange(count))
    if count < MIN_SEEDS:
        return LabelsNeeded(mean, None, None)
    draws = np.random.default_rng(0).integers(count, size=(_RESAMPLES, count))
    resampled = np.sort([needed(seeds) for seeds in draws])
    low, high = (float(resampled[round(q * (_RESAMPLES - 1))]) for q in (0.025, 0.975))
    return LabelsNeeded(mean, low, high)


def _shown(labels: float) -> str:
    return "never" if math.isinf(labels) else f"{labels:.1f}"
