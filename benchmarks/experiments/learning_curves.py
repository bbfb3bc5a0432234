"""Learning curves of a suite: areas under them, and labels saved."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from benchmarks.experiments.savings import needed_for_last
from benchmarks.experiments.statistics import Outcome, area, paired

RANDOM = "random"
BASELINES = ("random, one per patient", RANDOM)  # what methods are compared with: the first that has run


def baseline_of(methods: Collection[str]) -> str | None:
    """Return the first baseline that is among the methods, or None."""
    return next((name for name in BASELINES if name in methods), None)


def total(budget: str) -> int:
    """Return the total number of labels of a budget such as "8+4"."""
    return sum(map(int, budget.split("+")))


Curve = list[tuple[int, dict[int, float]]]  # labels, and Dice by seed


def curves(outcome: Outcome) -> dict[str, Curve]:
    """Return each method's curve over its finished single-stage budgets; one budget makes no curve."""
    points_of: dict[str, Curve] = {}
    for method, budget in outcome.rows:
        values = outcome.values((method, budget), "dice")
        if "+" not in budget and values:
            points_of.setdefault(method, []).append((total(budget), values))
    return {
        method: sorted(points, key=lambda point: point[0])
        for method, points in points_of.items()
        if len(points) > 1
    }


def areas(points: Curve) -> dict[int, float]:
    """Return the area under the curve for each seed that has all points."""
    labels = [n for n, _ in points]
    seeds = sorted(set.intersection(*(set(values) for _, values in points)))
    area_of = {seed: area(labels, [values[seed] for _, values in points]) for seed in seeds}
    return {seed: value for seed, value in area_of.items() if value is not None}


def curve_rows(outcome: Outcome) -> Iterator[str]:
    """Yield the area under each method's curve and the labels it needs to reach the baseline's final Dice."""
    points_of = curves(outcome)
    baseline = baseline_of(points_of)
    if baseline is None:
        return
    final = "random's final Dice" if baseline == RANDOM else f"the final Dice of {baseline}"
    yield f"| method | area under the curve | - {baseline} [95 %] | labels for {final} [95 %] |"
    yield "|---|---|---|---|"
    theirs = areas(points_of[baseline])
    for method, points in points_of.items():
        ours = areas(points)
        shared = sorted(ours.keys() & theirs.keys())
        against = paired(ours[seed] - theirs[seed] for seed in shared) if method != baseline else None
        mean = f"{np.mean(list(ours.values())):.4f}" if ours else ""
        yield f"| {method} | {mean} | {against or ''} | {_needed(points, points_of[baseline])} |"


def _needed(ours: Curve, theirs: Curve) -> str:
    """Return the labels for random's last Dice, where both curves have the same budgets and seeds."""
    labels = [n for n, _ in ours]
    if labels != [n for n, _ in theirs]:
        return ""
    seeds = sorted(set.intersection(*(set(values) for _, values in [*ours, *theirs])))
    if not seeds:
        return ""
    one, other = (np.array([[values[s] for _, values in curve] for s in seeds]) for curve in (ours, theirs))
    return f"{needed_for_last(labels, one, other)} of {labels[-1]}"
