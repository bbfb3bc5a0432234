"""One cell of the search: a method, a split, a draw."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.experiments.suite import cell_name
from benchmarks.hardware import processor, today
from benchmarks.search.choosing import choose
from benchmarks.search.data import SearchData
from benchmarks.search.measures import measure_coverage, measure_labels
from benchmarks.search.plans import Arm, SearchPlan
from benchmarks.search.rounds import choose_in_rounds

_APART = 100_000  # between the seeds of two draws


class SearchCell(NamedTuple):
    """A method on one split; a draw has its own seed for the method, and shares split and head."""

    arm: Arm
    seed: int
    draw: int

    @property
    def method(self) -> str:
        """Name of the method, and of its draw if there are several."""
        return f"{self.arm.name}, draw {self.draw + 1}" if self.arm.draws > 1 else self.arm.name

    def name(self, plan: SearchPlan) -> str:
        """Return the name that identifies the cell among those of its plan."""
        return cell_name(self.method, str(plan.budgets[-1]), self.seed)


def cells_of(plan: SearchPlan, phase: str) -> Iterator[SearchCell]:
    """Yield the cells of a phase, seed by seed, so that an interrupted one has complete seeds."""
    for seed in plan.phases[phase].seeds:
        for arm in plan.phases[phase].arms:
            for draw in range(arm.draws):
                yield SearchCell(arm, seed, draw)


def run_cell(cell: SearchCell, plan: SearchPlan, data: SearchData, heads: bool = True) -> dict[str, Any]:
    """Choose the labels, then measure each budget.

    :param heads: fit heads on the labels; else only what they cover is measured
    """
    started, most = time.process_time(), plan.budgets[-1]
    pool, held_out = data.divide(plan.test_split, cell.seed)
    own = cell.seed + _APART * cell.draw
    seen = data.mislabelled(cell.arm.noise, own) if cell.arm.noise else data
    if cell.arm.rounds:
        chosen = choose_in_rounds(seen, pool, cell.arm, plan.classes, most, (cell.seed, own))
    else:
        chosen = choose(seen, pool, cell.arm, plan.classes, most, own)
    chose = time.process_time()
    points = measure_coverage(data, pool, chosen, plan.budgets)
    for budget, point in zip(plan.budgets, points, strict=True):
        point |= {"labels": budget}
        if heads:
            point |= measure_labels(data, chosen[:budget], held_out, plan.classes, cell.seed)
    return {
        "cell": {
            "data": plan.data,
            "method": cell.method,
            "budget": str(most),
            "seed": cell.seed,
            "arm": cell.arm.name,
        },
        "date": today(),
        "device": processor(),
        "seconds": {"choose": round(chose - started, 2), "all": round(time.process_time() - started, 2)},
        "picks": [data.images[row] for row in chosen],
        "points": points,
    }
