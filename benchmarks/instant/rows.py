"""Tables of cells: a row per method, a column per number of labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Cell = dict[str, Any]


def table(
    cells: Iterable[Cell],
    title: str,
    value: Callable[[Cell], float | None],
    budgets: Sequence[int],
    digits: int = 3,
) -> str:
    """Return a table of mean and standard deviation over seeds, without methods that have no value.

    :param value: of a cell; None if it has none
    """
    lines = [f"| {title} with ... labels | seeds | {' | '.join(map(str, budgets))} |"]
    lines.append("|---" * (2 + len(budgets)) + "|")
    methods: dict[str, list[Cell]] = {}
    for cell in cells:
        methods.setdefault(cell["cell"]["method"], []).append(cell)
    for method, own in sorted(methods.items()):
        columns = [[value(cell) for cell in own if cell["cell"]["budget"] == str(n)] for n in budgets]
        values = [[v for v in column if v is not None] for column in columns]
        if any(values):
            seeds = sorted({len(column) for column in columns if column})
            few = f"{seeds[0]} to " if len(seeds) > 1 else ""
            lines.append(f"| {method} | {few}{seeds[-1]} | {' | '.join(_mean(v, digits) for v in values)} |")
    return "\n".join(lines) + "\n"


def _mean(values: list[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}" if values else ""
