"""Headroom of a search: its phase of many random subsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from benchmarks.experiments.headroom import HEAD, headroom, row_of
from benchmarks.search.plans import Phase, SearchPlan

NOTE = """
Random subsets of a split are compared with one another; figures are means over splits. The best tenth is best
partly by chance of the held-out patients. Lasting: its lead on one half of them, when it is chosen by the
other half, which is nearer to what a selector can gain.
"""


def headroom_rows(plan: SearchPlan, phase: Phase, cells: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the headroom at each number of labels."""
    names, curves = {arm.name for arm in phase.arms}, dict[int, list[list[dict[str, Any]]]]()
    for cell in cells:
        key = cell["cell"]
        if key["arm"] in names and key["seed"] in phase.seeds:
            curves.setdefault(key["seed"], []).append(cell["points"])
    subsets = min(map(len, curves.values()))
    yield f"{len(curves)} splits with {subsets} random subsets or more each."
    yield from ("", *HEAD)
    for at, labels in enumerate(plan.budgets):
        points = [[curve[at] for curve in of_split] for of_split in curves.values()]
        dice = [np.array([point["dice"] for point in of_split]) for of_split in points]
        halves = [np.array([point["halves"] for point in of_split]) for of_split in points]
        yield row_of(str(labels), headroom(dice, halves))
