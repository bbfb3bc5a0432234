"""The page of the instant head's results, from its cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments.results import read_cells
from benchmarks.instant.measuring import BUDGETS
from benchmarks.instant.speed import SPEED

_HEAD = """# instant

Dice at the image's own size on a held-out fifth of the images, with 1 to 16 labels drawn at random; mean and
standard deviation over seeds. A seed draws the held-out images and the labels; the labels of a larger number
contain those of a smaller one. Volumes: Dice over the whole volume. Validated: the head's own Dice, by
cross-validation over its labels on the grid. AUC: how well the probability that an image shows anything tells
images with an empty mask from others, where the data set has both.

    python -m benchmarks.instant --studies IMAGES --labels MASKS --name montgomery --classes 1 --classes 2 \\
        --encoder transformers:FOLDER --speed

"""


def write_table(folder: Path) -> None:
    """Write README.md of a results folder."""
    cells = list(read_cells(folder).values())
    parts = [_HEAD, _table(cells, "dice", "Dice"), _table(cells, "validated", "Validated Dice")]
    if any(cell["auc"] is not None for cell in cells):
        parts.append(_table(cells, "auc", "AUC"))
    if (folder / SPEED).exists():
        parts.append(_speed(json.loads((folder / SPEED).read_text())))
    (folder / "README.md").write_text("\n".join(parts))


def _table(cells: list[dict[str, Any]], key: str, title: str) -> str:
    lines = [f"| {title} with ... labels | seeds | {' | '.join(map(str, BUDGETS))} |"]
    lines.append("|---" * (2 + len(BUDGETS)) + "|")
    for method in sorted({cell["cell"]["method"] for cell in cells}):
        own = [cell for cell in cells if cell["cell"]["method"] == method]
        values = [
            [c[key] for c in own if c["cell"]["budget"] == str(n) and c[key] is not None] for n in BUDGETS
        ]
        if any(values):
            seeds = len({cell["cell"]["seed"] for cell in own})
            lines.append(f"| {method} | {seeds} | {' | '.join(map(_mean, values))} |")
    return "\n".join(lines) + "\n"


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}" if values else ""


def _speed(content: dict[str, Any]) -> str:
    lines = [f"Seconds of one core, and bytes ({content['encoder']}; {content['device']}):", ""]
    lines += ["| what | figure |", "|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {figure} |" for what, figure in content["rows"])]) + "\n"
