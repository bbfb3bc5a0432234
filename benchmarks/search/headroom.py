"""Headroom: how much a better choice of labels could gain over the mean of random ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from benchmarks.search.plans import Phase, SearchPlan

BEST = 0.1  # share of the random subsets
NOTE = """
Random subsets of a split are compared with one another; figures are means over splits. The best tenth is
best partly by chance of the held-out patients. Lasting: its lead on one half of them, when it is chosen by
the other half, which is nearer to what a selector can gain.
"""


def headroom_rows(plan: SearchPlan, phase: Phase, cells: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield for each budget the mean and spread of random subsets, and how far their best are above the mean.

    A subset that is among the best tenth on some held-out patients is partly so by chance. Its lead on the
    other half of the patients, `lasting`, is not.
    """
    names, curves = {arm.name for arm in phase.arms}, dict[int, list[list[dict[str, Any]]]]()
    for cell in cells:
        key = cell["cell"]
        if key["arm"] in names and key["seed"] in phase.seeds:
            curves.setdefault(key["seed"], []).append(cell["points"])
    subsets = min(map(len, curves.values()))
    yield f"{len(curves)} splits with {subsets} random subsets or more each."
    yield ""
    yield "| labels | mean | SD of subsets | best tenth - mean | lasting |"
    yield "|---|---|---|---|---|"
    for at, labels in enumerate(plan.budgets):
        points = [[curve[at] for curve in of_split] for of_split in curves.values()]
        dice = [np.array([point["dice"] for point in of_split]) for of_split in points]
        halves = [np.array([point["halves"] for point in of_split]) for of_split in points]
        mean, spread = np.mean([d.mean() for d in dice]), np.mean([d.std() for d in dice])
        lead = np.mean([_lead(d, d) for d in dice])
        lasting = np.mean([_lead(h[:, one], h[:, 1 - one]) for h in halves for one in (0, 1)])
        yield f"| {labels} | {mean:.3f} | {spread:.4f} | {lead:+.4f} | {lasting:+.4f} |"


def _lead(chosen_by: np.ndarray, measured: np.ndarray) -> float:
    """Return the lead over the mean, in `measured` (n,), of the best tenth in `chosen_by` (n,)."""
    best = np.argsort(-chosen_by, kind="stable")[: max(1, round(BEST * len(chosen_by)))]
    return float(measured[best].mean() - measured.mean())
