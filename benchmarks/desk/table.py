"""Markdown tables of measured rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(rows: Sequence[Mapping[str, Any]], names: Sequence[str], numbers: Mapping[str, str]) -> str:
    """Write rows as a Markdown table.

    :param names: keys shown as they are
    :param numbers: keys of numbers and their headings; at least 100 without, at least 10 with one, else with
        two decimals
    """
    heads = [*names, *numbers.values()]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [str(row[name]) for name in names] + [_number(row[name]) for name in numbers]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
