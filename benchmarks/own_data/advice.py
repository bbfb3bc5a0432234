"""Recommendations from cells on a user's own data, based on paired intervals only.

Many methods are compared to find the best, so the intervals hold simultaneously (Bonferroni). They are
Student's: with five values a percentile bootstrap is too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import t

from benchmarks.experiments.statistics import MIN_SEEDS, Difference, Key, Outcome, labels_needed
from benchmarks.experiments.suite import Cell

RANDOM = "random"
UNMEASURED = "Nothing can be recommended yet: use the default."


@dataclass(frozen=True)
class Advice:
    """The recommendation.

    :param key: (method, budget) of the row to use
    :param why: reasons, as sentences
    :param unknown: what the data cannot show, as sentences
    :param is_measured: False if the default is named since too little was measured
    """

    headline: str
    key: Key
    why: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    is_measured: bool = True


def interval(values: Iterable[float], among: int = 1) -> Difference | None:
    """Return the mean of paired differences; the intervals of `among` comparisons jointly cover 95 %."""
    differences = np.array(list(values))
    if not len(differences):
        return None
    mean = float(differences.mean())
    if len(differences) < MIN_SEEDS:
        return Difference(mean, None, None, len(differences))
    half = float(
        t.ppf(1 - 0.025 / among, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    )
    return Difference(mean, mean - half, mean + half, len(differences))


class Rows:
    """The rows of an outcome at the full budget, and their learning curves."""

    def __init__(self, outcome: Outcome, budget: int) -> None:
        self.outcome, self.budget, self.half = outcome, budget, budget // 2
        self.cell: dict[Key, Cell] = {}
        for cell in outcome.suite.cells:
            self.cell.setdefault((cell.row, cell.budget), cell)
        self.full = [key for key, cell in self.cell.items() if sum(cell.steps) == budget]
        self.random = (RANDOM, str(budget))

    def against(self, key: Key, other: Key) -> Difference | None:
        """Return the Dice of a row minus that of another, paired by seed."""
        ours, theirs = self.outcome.values(key, "dice"), self.outcome.values(other, "dice")
        shared = sorted(ours.keys() & theirs.keys())
        return interval((ours[seed] - theirs[seed] for seed in shared), len(self.full) - 1)

    @property
    def compared(self) -> dict[Key, Difference]:
        """Difference of every other row to random."""
        differences = {key: self.against(key, self.random) for key in self.full if key != self.random}
        return {key: difference for key, difference in differences.items() if difference is not None}

    def curve(self, key: Key) -> dict[int, dict[int, float]]:
        """Return {labels: {seed: Dice}} of a row's method: its own stages, or its row at half the budget.

        Draws of a seed are averaged.
        """
        dice: dict[int, dict[int, list[float]]] = {}
        for one in (key, (key[0], str(self.half))):
            for cell in self.outcome.cells(one) if one in self.cell else []:
                for stage in cell["stages"]:
                    of_seed = dice.setdefault(stage["labels"], {})
                    of_seed.setdefault(cell["cell"]["seed"], []).append(stage["dice"])
        return {
            labels: {seed: float(np.mean(values)) for seed, values in of_seed.items()}
            for labels, of_seed in sorted(dice.items())
        }

    def growth(self, key: Key) -> Difference | None:
        """Return the Dice at the full budget minus that at half of it, paired by seed."""
        curve = self.curve(key)
        few, many = curve.get(self.half, {}), curve.get(self.budget, {})
        return interval(many[seed] - few[seed] for seed in sorted(few.keys() & many.keys()))

    def needed(self, key: Key) -> float | None:
        """Return the labels needed for random's mean Dice at the full budget; None if not reached."""
        curve, target = self.curve(key), self.outcome.values(self.random, "dice")
        if not target or not curve:
            return None
        means = [float(np.mean(list(values.values()))) for values in curve.values()]
        return labels_needed(list(curve), means, float(np.mean(list(target.values()))))

    def encoders(self) -> dict[str, Difference]:
        """Return each encoder's mean difference in Dice to the descriptor, over the same methods."""
        plain = self.cell[self.random].encoder
        values: dict[str, dict[int, list[float]]] = {}
        for key, cell in self.cell.items():
            for other, same in self.cell.items():
                if cell.encoder != plain == same.encoder and _method_of(cell) == _method_of(same):
                    ours, theirs = (self.outcome.values(one, "dice") for one in (key, other))
                    for seed in ours.keys() & theirs.keys():
                        values.setdefault(cell.encoder, {}).setdefault(seed, []).append(
                            ours[seed] - theirs[seed]
                        )
        differences = {
            name: interval((float(np.mean(v)) for _, v in sorted(of.items())), len(values))
            for name, of in values.items()
        }
        return {name: difference for name, difference in differences.items() if difference is not None}


def _method_of(cell: Cell) -> tuple[str, str, str, str]:
    return cell.first, cell.then, cell.budget, str(cell.settings)


def above(difference: Difference | None) -> bool:
    return difference is not None and difference.low is not None and difference.low > 0


def below(difference: Difference | None) -> bool:
    return difference is not None and difference.high is not None and difference.high < 0


def advise(rows: Rows) -> Advice:
    """Recommend a method, budget and encoder."""
    headline, key, why = _recommend_method(rows)
    why += [_encoder_reason(name, difference) for name, difference in rows.encoders().items()]
    why.append(_budget_reason(rows, key))
    return Advice(headline, key, why, _unknowns(rows), headline != UNMEASURED)


def _recommend_method(rows: Rows) -> tuple[str, Key, list[str]]:
    compared, budget = rows.compared, rows.budget
    if not compared or all(difference.low is None for difference in compared.values()):
        reason = f"Fewer than {MIN_SEEDS} repetitions have finished, too few for an interval."
        return UNMEASURED, rows.random, [reason]
    better = {key: difference for key, difference in compared.items() if above(difference)}
    if not better:
        reason = f"None of {len(compared)} methods is above random at {budget} labels by its interval."
        return "Nothing is shown to beat random here: take images at random.", rows.random, [reason]
    best = max(better, key=lambda key: better[key].mean)
    return f"Use {best[0]}.", best, _better_than_random(rows, best, better)


def _better_than_random(rows: Rows, key: Key, better: dict[Key, Difference]) -> list[str]:
    lines = [f"{key[0]} is better than random at {rows.budget} labels: {better[key]} Dice."]
    level = [
        other[0]
        for other in better
        if other != key and not above(rows.against(key, other)) and not below(rows.against(key, other))
    ]
    if level:
        lines.append(f"Also better than random, with no certain difference from it: {', '.join(level)}.")
    return lines


def _encoder_reason(name: str, difference: Difference) -> str:
    start = f"Encoder {name} against the descriptor, mean of the methods: {difference}"
    if above(difference):
        return f"{start}; it is better here."
    if below(difference):
        return f"{start}; the descriptor is better here."
    return f"{start}; no difference is certain, and the descriptor needs no weights."


def _budget_reason(rows: Rows, key: Key) -> str:
    growth, many, few = rows.growth(key), rows.budget, rows.half
    if growth is None or growth.low is None:
        return f"The gain from {few} to {many} labels is unknown with so few repetitions."
    if above(growth):
        return (
            f"From {few} to {many} labels Dice still grew by {growth}: label {many}, and measure again "
            "from there."
        )
    return f"From {few} to {many} labels no gain is certain ({growth}); {few} may or may not be enough."


def _unknowns(rows: Rows) -> list[str]:
    compared = rows.compared.values()
    halves = [value.high - value.mean for value in compared if value.high is not None]
    lines = [f"Budgets above {rows.budget} were not tried."]
    if halves:
        seeds = min(value.seeds for value in compared)
        lines.insert(
            0,
            f"With {seeds} repetitions and {len(halves)} methods, a difference to random below about "
            f"{np.median(halves):.3f} Dice could not be detected. The same command with a larger --seeds "
            "continues from here and detects smaller ones.",
        )
    if rows.outcome.missing:
        lines.append(f"{len(rows.outcome.missing)} cells have not run.")
    return lines
