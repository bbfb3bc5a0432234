"""Search for a selection that saves labels: python -m benchmarks.search busi --studies IMAGES --labels MASKS

The instant head is the learner, so a cell takes seconds. Finished cells never run again; README.md beside
them is written from all finished cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.experiments.jobs import RESULTS
from benchmarks.experiments.results import CELLS, packing, read_cells
from benchmarks.experiments.suite import SuiteError
from benchmarks.search.cell import cells_of
from benchmarks.search.jobs import run_cells
from benchmarks.search.plans import read_plan
from benchmarks.search.table import write_page
from pool.imaging.errors import ImageError
from pool.imaging.labels import LabelError


def main(
    name: Annotated[str, typer.Argument(help="Name of a file in benchmarks/search/plans, or a path")],
    studies: Annotated[Path, typer.Option(help="Folder of images", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true masks, named like the images", exists=True)],
    phases: Annotated[
        list[str], typer.Option("--phase", help="One of the plan: coverage, headroom, development ...")
    ],
    weights: Annotated[Path | None, typer.Option(help="Folder with the encoder's weights")] = None,
    out: Annotated[Path | None, typer.Option(help="Default benchmarks/results/search_NAME")] = None,
    work: Annotated[Path, typer.Option(help="Cache of features; may be deleted")] = Path("runs/search"),
    jobs: Annotated[int, typer.Option(help="Cells to run in parallel, each on one thread", min=1)] = 1,
) -> None:
    """Run the missing cells of phases, then write the page of all finished cells."""
    try:
        plan = read_plan(name)
        if unknown := set(phases) - set(plan.phases):
            raise SuiteError(f"{plan.name}: no phase {min(unknown)!r}; choose from: {', '.join(plan.phases)}")
        folder = out or RESULTS / f"search_{plan.name}"
        (folder / CELLS).mkdir(parents=True, exist_ok=True)
        with packing(folder):
            finished = read_cells(folder)
            todo = [(p, c) for p in phases for c in cells_of(plan, p) if c.name(plan) not in finished]
            run_cells(todo, plan, (studies, labels, weights, work), folder / CELLS, jobs)
        write_page(plan, folder)
    except (SuiteError, ImageError, LabelError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
