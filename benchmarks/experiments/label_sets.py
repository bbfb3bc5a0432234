"""Headroom over label sets of finished suites: python -m benchmarks.experiments.label_sets SUITE [SUITE ...]

On one split, all methods of suites of one data set have labelled different images. How far the best of
these sets are above their mean tells, without new trainings, how much the choice of labels matters there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.experiments.headroom import halves_of, headroom, row_of
from benchmarks.experiments.jobs import RESULTS
from benchmarks.experiments.results import read_cells
from benchmarks.experiments.suite import SuiteError

MIN_SETS = 5  # on a split

Sets = dict[tuple[str, ...], dict[str, Any]]  # the stage of each set of labelled images


def sets_by_split(cells: Iterable[dict[str, Any]]) -> dict[int, dict[int, Sets]]:
    """Return {labels: {seed: sets}} of the cells without wrong labels; equal sets count once."""
    found: dict[int, dict[int, Sets]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        picked: list[str] = []
        for stage in cell["stages"] if not cell["cell"].get("noise") else []:
            picked += [pick["image"] for pick in stage["picks"]]
            found[stage["labels"]][cell["cell"]["seed"]][tuple(sorted(picked))] = stage
    return found


def rows(cells: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a table row for each number of labels with enough sets on a split."""
    yield "| labels | splits | sets per split | mean | SD of sets | best tenth - mean | lasting |"
    yield "|---|---|---|---|---|---|---|"
    for labels, by_seed in sorted(sets_by_split(cells).items()):
        splits = [list(sets.values()) for sets in by_seed.values() if len(sets) >= MIN_SETS]
        if not splits:
            continue
        dice = [np.array([stage["dice"] for stage in stages]) for stages in splits]
        halves = [np.array([halves_of(stage) for stage in stages]) for stages in splits]
        sizes = f"{min(map(len, splits))} to {max(map(len, splits))}"
        yield row_of(f"{labels} | {len(splits)} | {sizes}", headroom(dice, halves))


def main(
    suites: Annotated[list[str], typer.Argument(help="Suites of one data set and protocol")],
    results: Annotated[Path, typer.Option(help="Folder with one subfolder per suite", exists=True)] = RESULTS,
) -> None:
    """Print the headroom over all label sets of these suites."""
    try:
        cells = [cell for suite in suites for cell in read_cells(results / suite).values()]
    except SuiteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    for row in rows(cells):
        typer.echo(row)


if __name__ == "__main__":
    typer.run(main)
