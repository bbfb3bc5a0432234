"""What the cells of a suite say: means over seeds, paired differences, and answers to claims."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from benchmarks.suite import Claim, Suite

Key = tuple[str, str]  # method, budget
FEWEST = 5  # seeds below which an interval, and a verdict, would say more than is known


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences over seeds with its 95 % bootstrap interval; without ends of few seeds."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    def __str__(self) -> str:
        ends = "" if self.low is None else f" [{self.low:+.4f}, {self.high:+.4f}]"
        return f"{self.mean:+.4f}{ends}"


class Outcome:
    """The last stage of every finished cell of a suite, by method, budget and seed."""

    def __init__(self, suite: Suite, folder: Path) -> None:
        self.suite = suite
        self.missing = [cell.name for cell in suite.cells if not (folder / f"{cell.name}.json").exists()]
        self._cells: dict[Key, dict[int, dict[str, Any]]] = {}
        for cell in suite.cells:
            seeds = self._cells.setdefault((cell.method, cell.budget), {})
            file = folder / f"{cell.name}.json"
            if file.exists():
                seeds[cell.seed] = json.loads(file.read_text())

    @property
    def rows(self) -> list[Key]:
        """(method, budget) in the order of the suite."""
        return list(self._cells)

    def cells(self, key: Key) -> list[dict[str, Any]]:
        """Finished cells of a row, by seed."""
        return [self._cells[key][seed] for seed in sorted(self._cells[key])]

    def values(self, key: Key, metric: str) -> dict[int, float]:
        """A number of the last stage, by seed: dice, hd95 or failures."""
        return {seed: float(cell["stages"][-1][metric]) for seed, cell in self._cells.get(key, {}).items()}

    def difference(self, one: Key, other: Key, metric: str = "dice") -> Difference | None:
        """Paired by seed, which fixes the split and the first weights; None without a seed in common."""
        ours, theirs = self.values(one, metric), self.values(other, metric)
        return paired(ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys()))

    def answer(self, claim: Claim) -> tuple[str, Difference | None]:
        """ "confirmed", "contradicted", "not confirmed", "too few seeds" or "not measured"."""
        found = []
        for budget in claim.budgets:
            ours, theirs = (self.values((m, budget), "dice") for m in (claim.better, claim.than))
            shared = sorted(ours.keys() & theirs.keys())
            if not shared:
                return "not measured", None
            found.append({seed: ours[seed] - theirs[seed] for seed in shared})
        seeds = set.intersection(*(set(one) for one in found))
        # one value per seed: budgets of a seed share their split and their first picks
        difference = paired(float(np.mean([one[seed] for one in found])) for seed in sorted(seeds))
        if difference is None:
            return "not measured", None
        if difference.low is None or difference.high is None:
            return "too few seeds", difference
        if difference.low > 0:
            return "confirmed", difference
        return ("contradicted" if difference.high < 0 else "not confirmed"), difference


def paired(differences: Iterable[float]) -> Difference | None:
    """Mean and percentile bootstrap interval (from FEWEST values on), seeded; None of nothing."""
    values = list(differences)
    if not values:
        return None
    if len(values) < FEWEST:
        return Difference(float(np.mean(values)), None, None, len(values))
    found = bootstrap(
        (np.asarray(values),), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(0)
    ).confidence_interval
    return Difference(float(np.mean(values)), float(found.low), float(found.high), len(values))


def labels_needed(labels: Sequence[int], dice: Sequence[float], wanted: float) -> float | None:
    """Labels at which a curve first reaches a Dice, between two budgets by a straight line; None if never."""
    for at, value in enumerate(dice):
        if value >= wanted:
            if at == 0:
                return float(labels[0])
            share = (wanted - dice[at - 1]) / (value - dice[at - 1])
            return float(labels[at - 1] + share * (labels[at] - labels[at - 1]))
    return None


def area(labels: Sequence[int], dice: Sequence[float]) -> float | None:
    """Area under a learning curve divided by its width, so that it reads as a Dice; None of one point."""
    if len(labels) < 2:
        return None
    return float(np.trapz(dice, labels) / (labels[-1] - labels[0]))
