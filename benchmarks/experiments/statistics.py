"""Statistics of a suite's cells: means over seeds, paired differences, and verdicts on claims."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from benchmarks.experiments.power import half_width, smallest_visible
from benchmarks.experiments.results import read_cells
from benchmarks.experiments.stage_metrics import value_of
from benchmarks.experiments.suite import Claim, Suite

Key = tuple[str, str]  # method, budget
MIN_SEEDS = 5  # fewer seeds support neither an interval nor a verdict


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences over seeds with its 95 % bootstrap interval (None with few seeds).

    :param certain: Student's interval excludes zero too. For five normal values that differ by chance only,
        the bootstrap interval excludes zero in one case of six, Student's in one of twenty
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    certain: bool = False
    deviation: float | None = None

    @property
    def student(self) -> tuple[float, float] | None:
        """Student's 95 % interval."""
        if self.deviation is None:
            return None
        half = half_width(self.deviation, self.seeds)
        return self.mean - half, self.mean + half

    @property
    def visible(self) -> float | None:
        """Smallest mean difference that this many seeds show with a power of 80 %."""
        return smallest_visible(self.deviation, self.seeds) if self.deviation else None

    def __str__(self) -> str:
        ends = "" if self.low is None else f" [{self.low:+.4f}, {self.high:+.4f}]"
        return f"{self.mean:+.4f}{ends}"


class Outcome:
    """The finished cells of a suite, by method, budget and seed.

    :param folder: results folder (`read_cells`); raises SuiteError as that does
    """

    def __init__(self, suite: Suite, folder: Path) -> None:
        self.suite, finished = suite, read_cells(folder)
        self.missing = [cell.name for cell in suite.cells if cell.name not in finished]
        self._cells: dict[Key, dict[int, list[dict[str, Any]]]] = {}  # the draws of each seed
        for cell in suite.cells:
            seeds = self._cells.setdefault((cell.row, cell.budget), {})
            if cell.name in finished:
                seeds.setdefault(cell.seed, []).append(finished[cell.name])

    @property
    def rows(self) -> list[Key]:
        """(method, budget) in the order of the suite."""
        return list(self._cells)

    def cells(self, key: Key) -> list[dict[str, Any]]:
        """Return the finished cells of a row, by seed."""
        return [cell for seed in sorted(self._cells[key]) for cell in self._cells[key][seed]]

    def last_stages(self, key: Key) -> dict[int, list[dict[str, Any]]]:
        """Return the last stage of each draw, by seed."""
        return {seed: [c["stages"][-1] for c in cells] for seed, cells in self._cells.get(key, {}).items()}

    def values(self, key: Key, metric: str) -> dict[int, float]:
        """Return a metric of the last stage by seed, the mean over its draws.

        A metric is one of the stage's (dice, hd95, failures, pixels), `worst` (`worst_tenth`), `painted`
        (`painted_empty`) or `all_dice` (`dice_of_all`). Seeds of which no stage has it are left out.
        """
        of_seed = {
            seed: [value for stage in stages if (value := value_of(stage, metric)) is not None]
            for seed, stages in self.last_stages(key).items()
        }
        return {seed: float(np.mean(values)) for seed, values in of_seed.items() if values}

    def alike(self) -> list[tuple[str, list[str]]]:
        """Return (budget, methods) where methods labelled the same images in every seed: equal rows."""
        methods_by_labels: dict[tuple[str, str], list[str]] = {}
        for (method, budget), cells in self._cells.items():
            if cells:
                labelled = [
                    (seed, cell["cell"].get("noise"), _labelled_images(cell))
                    for seed in sorted(cells)
                    for cell in cells[seed]
                ]
                methods_by_labels.setdefault((budget, str(labelled)), []).append(method)
        return [(budget, methods) for (budget, _), methods in methods_by_labels.items() if len(methods) > 1]

    def difference(self, one: Key, other: Key, metric: str = "dice") -> Difference | None:
        """Return the difference paired by seed (same split, same initial weights); None if none is shared."""
        ours, theirs = self.values(one, metric), self.values(other, metric)
        return paired(ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys()))

    def answer(self, claim: Claim) -> tuple[str, Difference | None]:
        """Return the verdict on a claim, and the difference behind it.

        The verdict is "confirmed", "likely", "not confirmed", "unlikely", "contradicted", "too few seeds" or
        "not measured"; likely and unlikely where the bootstrap interval excludes zero and Student's does not.

        The difference is positive if the claim holds: more Dice, less HD95 or less spread.
        """
        metric = "dice" if claim.metric == "spread" else claim.metric
        ours, theirs = (
            [self.values((method, budget), metric) for budget in claim.budgets]
            for method in (claim.better, claim.than)
        )
        seeds = sorted(set.intersection(*(set(values) for values in (*ours, *theirs))))
        if not seeds:
            return "not measured", None
        # budgets of a seed share their split and first picks, so seeds are resampled, not budgets
        one, other = ([[v[seed] for seed in seeds] for v in values] for values in (ours, theirs))
        if claim.metric == "spread":
            difference = spread_difference(other, one)
        else:
            sign = -1 if claim.metric == "hd95" else 1
            difference = paired(sign * (np.mean(one, axis=0) - np.mean(other, axis=0)))
        if difference is None or difference.low is None or difference.high is None:
            return "too few seeds", difference
        if difference.low <= 0 <= difference.high:
            return "not confirmed", difference
        words = ("confirmed", "contradicted") if difference.certain else ("likely", "unlikely")
        return words[difference.mean < 0], difference


def _labelled_images(cell: Mapping[str, Any]) -> list[list[str]]:
    """Return the images labelled in each stage, sorted."""
    return [sorted(pick["image"] for pick in stage["picks"]) for stage in cell["stages"]]


def spread_difference(one: list[list[float]], other: list[list[float]]) -> Difference | None:
    """Return the difference in standard deviation over seeds, `one` - `other`, averaged over budgets.

    `one` and `other` are (budgets x seeds). The interval resamples seeds, the same for both. None with fewer
    than two seeds.
    """
    first, second, count = np.array(one), np.array(other), len(one[0])
    if count < 2:
        return None

    def statistic(seeds: np.ndarray, axis: int = -1) -> np.ndarray:  # seeds: column indices (..., n)
        return np.mean(first[:, seeds].std(axis=-1, ddof=1) - second[:, seeds].std(axis=-1, ddof=1), axis=0)

    low, high = _bootstrap_interval(np.arange(count), statistic)
    return Difference(float(statistic(np.arange(count))), low, high, count)


def _bootstrap_interval(
    values: np.ndarray, statistic: Callable[..., Any]
) -> tuple[float | None, float | None]:
    """Return the seeded 95 % percentile bootstrap interval; (None, None) below MIN_SEEDS values."""
    if len(values) < MIN_SEEDS:
        return None, None
    rng = np.random.default_rng(0)
    interval = bootstrap((values,), statistic, method="percentile", rng=rng).confidence_interval
    return float(interval.low), float(interval.high)


def paired(differences: Iterable[float]) -> Difference | None:
    """Return the mean of paired differences with its interval; None without values."""
    values = np.array([float(value) for value in differences])
    if not len(values):
        return None
    low, high = _bootstrap_interval(values, np.mean)
    if low is None:
        return Difference(float(values.mean()), low, high, len(values))
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    certain = abs(mean) > half_width(deviation, len(values))
    return Difference(mean, low, high, len(values), certain, deviation)


def labels_needed(labels: Sequence[int], dice: Sequence[float], target: float) -> float | None:
    """Return the labels at which a curve first reaches a Dice, by linear interpolation; None if never."""
    for at, value in enumerate(dice):
        if value >= target:
            if at == 0:
                return float(labels[0])
            share = (target - dice[at - 1]) / (value - dice[at - 1])
            return float(labels[at - 1] + share * (labels[at] - labels[at - 1]))
    return None


def area(labels: Sequence[int], dice: Sequence[float]) -> float | None:
    """Return the area under a learning curve, divided by its width to read as a Dice; None for one point."""
    if len(labels) < 2:
        return None
    return float(np.trapz(dice, labels) / (labels[-1] - labels[0]))
