"""Share of picks that show no structure: python -m benchmarks.empty_picks SUITE --studies A --labels B

For pools such as slices, where many images have an empty label. Prints one line per method and budget.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.experiments.data import Data
from benchmarks.experiments.jobs import RESULTS
from benchmarks.experiments.statistics import Outcome
from benchmarks.experiments.suite import read_suite
from pool.imaging.labels import read_label


def rows(outcome: Outcome, empty: dict[str, bool]) -> list[str]:
    """Return the share of empty picks in the last stage of each row that has cells."""
    lines = []
    for method, budget in outcome.rows:
        picks = [
            pick["image"] for cell in outcome.cells((method, budget)) for pick in cell["stages"][-1]["picks"]
        ]
        if picks:
            share = np.mean([empty[image] for image in picks])
            lines.append(f"| {budget} | {method} | {share:.2f} of {len(picks)} |")
    return lines


def main(
    suite: Annotated[str, typer.Argument(help="Name of a file in benchmarks/suites, or a path.")],
    studies: Annotated[Path, typer.Option(help="Folder of images", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true masks, named like the images", exists=True)],
    out: Annotated[
        Path | None, typer.Option(help="Folder with cells.jsonl; default benchmarks/results/SUITE")
    ] = None,
) -> None:
    """Print the share of picks with an empty true label in the last stage of each method."""
    loaded, data = read_suite(suite), Data(studies, labels)
    structures = loaded.cells[0].overrides["labels"]
    empty = {
        image: not read_label(label, structures, path).any()
        for path, (image, label) in zip(data.images, data.label_of.items(), strict=True)
    }
    typer.echo(f"{np.mean(list(empty.values())):.2f} of {len(empty)} images have an empty label\n")
    typer.echo("| labels | method | empty picks of the last stage |\n|---|---|---|")
    for row in rows(Outcome(loaded, out or RESULTS / loaded.name), empty):
        typer.echo(row)


if __name__ == "__main__":
    typer.run(main)
