"""The page of the instant head's results, from its cells."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmarks.experiments.results import read_cells
from benchmarks.instant.comparison_table import comparison
from benchmarks.instant.measuring import BUDGETS
from benchmarks.instant.rows import table
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
    every = list(read_cells(folder).values())
    cells = [cell for cell in every if "variant" not in cell["cell"]]
    parts = [
        _HEAD,
        table(cells, "Dice", itemgetter("dice"), BUDGETS),
        table(cells, "Validated Dice", itemgetter("validated"), BUDGETS),
    ]
    if any(cell["auc"] is not None for cell in cells):
        parts.append(table(cells, "AUC", itemgetter("auc"), BUDGETS))
    if (folder / SPEED).exists():
        parts.append(_speed(json.loads((folder / SPEED).read_text())))
    parts += comparison([cell for cell in every if "variant" in cell["cell"]])
    (folder / "README.md").write_text("\n".join(parts))


def _speed(content: dict[str, Any]) -> str:
    lines = [f"Seconds of one core, and bytes ({content['encoder']}; {content['device']}):", ""]
    lines += ["| what | figure |", "|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {figure} |" for what, figure in content["rows"])]) + "\n"
