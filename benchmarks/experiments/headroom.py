"""Headroom: how much a better choice of labels could gain over the mean of random ones.

Many random subsets of one split are compared with one another. The best tenth of them is best partly by
chance of the held-out images: its lead on one half of these, when it is chosen by the other half, is nearer
to what a selector can gain. Where that is less than the gain looked for, no method can win.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.experiments.statistics import Outcome
from infers.metrics import dice_per_image

BEST = 0.1  # share of the random subsets
MIN_DRAWS = 10  # on a split, for a headroom to be shown


class Headroom(NamedTuple):
    """Means over splits: Dice, its standard deviation over subsets, and two leads of the best tenth.

    :ivar lead: over the mean, on all held-out images
    :ivar lasting: the same on one half of them, of the tenth that is best on the other half
    """

    dice: float
    deviation: float
    lead: float
    lasting: float


def headroom(dice: Sequence[np.ndarray], halves: Sequence[np.ndarray]) -> Headroom:
    """Return the headroom of splits.

    :param dice: of each split (subsets,)
    :param halves: of each split (subsets, 2), on both halves of the held-out images
    """
    leads = [_lead(values, values) for values in dice]
    lasting = [_lead(both[:, one], both[:, 1 - one]) for both in halves for one in (0, 1)]
    means = float(np.mean([values.mean() for values in dice]))
    deviation = float(np.mean([values.std(ddof=1) for values in dice]))
    return Headroom(means, deviation, float(np.mean(leads)), float(np.mean(lasting)))


def _lead(chosen_by: np.ndarray, measured: np.ndarray) -> float:
    """Return the lead over the mean, in `measured` (n,), of the best tenth in `chosen_by` (n,)."""
    best = np.argsort(-chosen_by, kind="stable")[: max(1, round(BEST * len(chosen_by)))]
    return float(measured[best].mean() - measured.mean())


HEAD = ["| labels | mean | SD of subsets | best tenth - mean | lasting |", "|---|---|---|---|---|"]


def row_of(labels: str, of: Headroom) -> str:
    """Format a table row."""
    return f"| {labels} | {of.dice:.3f} | {of.deviation:.4f} | {of.lead:+.4f} | {of.lasting:+.4f} |"


def headroom_rows(outcome: Outcome) -> Iterator[str]:
    """Yield the headroom of each row of a suite that has many draws on each split."""
    rows = []
    for method, budget in outcome.rows:
        splits = list(outcome.last_stages((method, budget)).values())
        if splits and min(map(len, splits)) >= MIN_DRAWS:
            dice = [np.array([stage["dice"] for stage in stages]) for stages in splits]
            halves = [np.array([halves_of(stage) for stage in stages]) for stages in splits]
            rows.append(row_of(budget, headroom(dice, halves)))
    if rows:
        yield from ("Headroom (`benchmarks/experiments/headroom.py`):", "", *HEAD, *rows, "")


def halves_of(stage: Mapping[str, Any]) -> tuple[float, float]:
    """Return the mean Dice of the first half of the held-out images by name, and of the second."""
    names = sorted(stage["images"])
    middle = len(names) // 2
    first, second = (
        dice_per_image({name: stage["images"][name] for name in part}, stage["metric"])
        for part in (names[:middle], names[middle:])
    )
    return float(np.mean(first)), float(np.mean(second))
