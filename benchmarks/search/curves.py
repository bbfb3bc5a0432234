"""Learning curves of a phase, from its cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.experiments.savings import needed_for_last
from benchmarks.experiments.statistics import Difference, area, paired
from benchmarks.search.plans import Phase, SearchPlan


class Curves:
    """The finished cells of a phase, by method and seed; draws are averaged."""

    def __init__(self, plan: SearchPlan, phase: Phase, cells: Iterable[dict[str, Any]]) -> None:
        self.plan, names = plan, {arm.name: arm.draws for arm in phase.arms}
        self._cells: dict[str, dict[int, list[dict[str, Any]]]] = {name: {} for name in names}
        for cell in cells:
            arm, seed = cell["cell"]["arm"], cell["cell"]["seed"]
            if arm in names and seed in phase.seeds:
                self._cells[arm].setdefault(seed, []).append(cell)
        for arm, by_seed in self._cells.items():  # a seed counts once all its draws have run
            self._cells[arm] = {s: of for s, of in sorted(by_seed.items()) if len(of) == names[arm]}

    @property
    def methods(self) -> list[str]:
        """Methods with a finished seed, in the order of the plan."""
        return [name for name, by_seed in self._cells.items() if by_seed]

    def curve(self, method: str, what: str = "dice") -> dict[int, np.ndarray]:
        """Return a measure (budgets,) by seed; NaN where it is unknown."""
        return {
            seed: np.mean([[_number(p[what]) for p in cell["points"]] for cell in cells], axis=0)
            for seed, cells in self._cells.get(method, {}).items()
        }

    def areas(self, method: str) -> dict[int, float]:
        """Return the area under the curve by seed, as a Dice."""
        labels = self.plan.budgets
        of = {seed: area(labels, curve.tolist()) for seed, curve in self.curve(method).items()}
        return {seed: value for seed, value in of.items() if value is not None}

    def against(self, method: str, other: str) -> Difference | None:
        """Return the difference in area, paired by seed."""
        ours, theirs = self.areas(method), self.areas(other)
        return paired(ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys()))

    def needed(self, method: str, other: str) -> str:
        """Return the labels needed for the other's last Dice, with their interval."""
        ours, theirs = self.curve(method), self.curve(other)
        seeds = sorted(ours.keys() & theirs.keys())
        if not seeds:
            return ""
        both = (np.stack([curves[seed] for seed in seeds]) for curves in (ours, theirs))
        return str(needed_for_last(self.plan.budgets, *both))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
