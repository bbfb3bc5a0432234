"""Run a suite: python -m benchmarks.run montgomery_reduced --studies IMAGES --labels MASKS --jobs 2

While the suite runs, each finished cell (method, budget, seed) is a file in cells/; at the end, even after
Ctrl-C, they are packed into cells.jsonl. Finished cells never run again, and a failing cell does not stop the
others. `python -m benchmarks.tables SUITE` writes tables and plots of the finished cells. For your own data,
see python -m benchmarks.run mine --help
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from benchmarks.experiments.data import Data
from benchmarks.experiments.jobs import RESULTS, Jobs, check_data, unfinished
from benchmarks.experiments.results import CELLS, packing
from benchmarks.experiments.suite import SuiteError, read_suite
from pool.imaging.images import ImageError


def main(
    suite: Annotated[str, typer.Argument(help="Name of a file in benchmarks/suites, or a path.")],
    studies: Annotated[Path, typer.Option(help="Folder of images", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true masks, named like the images", exists=True)],
    weights: Annotated[Path | None, typer.Option(help="Folder with the encoder's weights")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results; default benchmarks/results/SUITE")
    ] = None,
    work: Annotated[Path, typer.Option(help="Cache of features and models; may be deleted")] = Path(
        "runs/cells"
    ),
    jobs: Annotated[int, typer.Option(help="Cells to run in parallel, each on one thread", min=1)] = 1,
) -> None:
    """Run the missing cells of a suite. For advice on your own data, run the suite `mine` (mine --help)."""
    try:
        loaded = read_suite(suite)
        folder = out or RESULTS / loaded.name
        todo, data = unfinished(loaded.cells, folder), Data(studies, labels)
        check_data(folder, data)
    except (SuiteError, ImageError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    work.mkdir(parents=True, exist_ok=True)
    try:
        with (
            packing(folder),
            tqdm(total=len(loaded.cells), initial=len(loaded.cells) - len(todo), unit="cell") as bar,
        ):
            failed = Jobs(todo, (data, weights, folder / CELLS, work), bar).run(jobs)
    except SuiteError as error:  # cells that cannot be packed stay files
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if failed:
        typer.echo(f"{failed} cells failed; run the command again to retry them", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["mine"]:  # a suite built from the data, with its own options
        from benchmarks.own_data.mine import app

        app(sys.argv[2:], prog_name="python -m benchmarks.run mine")
    typer.run(main)
