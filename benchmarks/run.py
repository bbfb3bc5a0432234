"""Run a suite: python -m benchmarks.run montgomery_reduced --studies IMAGES --labels MASKS --jobs 2

Every cell (method, budget, seed) is one JSON file; finished ones are never run again, and one that fails does
not stop the others. `python -m benchmarks.tables SUITE` makes tables and plots of what there is. For data of
your own there is python -m benchmarks.run mine --help
"""

from __future__ import annotations

import json
import multiprocessing
import queue
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from benchmarks.annotator import write_json
from benchmarks.cell import Data, run_cell
from benchmarks.suite import Cell, SuiteError, read_suite
from pool.images import ImageError

_SPAWN = multiprocessing.get_context("spawn")
RESULTS = Path(__file__).parent / "results"


def unfinished(cells: list[Cell], folder: Path) -> list[Cell]:
    """Cells without a file. Raises SuiteError for a file of another configuration."""
    found = []
    for cell in cells:
        file = folder / f"{cell.name}.json"
        if not file.exists():
            found.append(cell)
        elif json.loads(file.read_text())["cell"] != cell.as_json():
            raise SuiteError(
                f"{file} was made with another configuration: remove it, or choose another --out"
            )
    return found


def check_data(folder: Path, data: Data) -> None:
    """Keep in `data.json` what a folder's cells are of. Raises SuiteError when that is other data."""
    file, now = folder / "data.json", data.as_json()
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, now)
    elif (before := json.loads(file.read_text())) != now:
        raise SuiteError(
            f"{file} says that the cells beside it are of {before['images']} other images or labels; check "
            f"--studies and --labels ({now['images']} images), or choose another --out"
        )


def main(
    suite: Annotated[str, typer.Argument(help="Name of a file in benchmarks/suites, or a path.")],
    studies: Annotated[Path, typer.Option(help="Folder of images", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true masks, named as the images", exists=True)],
    weights: Annotated[Path | None, typer.Option(help="Folder that holds the encoder's weights")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where results go; default benchmarks/results/SUITE")
    ] = None,
    work: Annotated[Path, typer.Option(help="Features and models, shared by cells; may be deleted")] = Path(
        "runs/cells"
    ),
    jobs: Annotated[int, typer.Option(help="Cells at the same time, each on one thread", min=1)] = 1,
) -> None:
    """Run what is missing of a suite. What to use on data of your own says the suite `mine` (mine --help)."""
    try:
        found = read_suite(suite)
        folder = (out or RESULTS / found.name) / "cells"
        todo, data = unfinished(found.cells, folder), Data(studies, labels)
        check_data(folder.parent, data)
    except (SuiteError, ImageError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    work.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(found.cells), initial=len(found.cells) - len(todo), unit="cell") as bar:
        failed = run_all(todo, (data, weights, folder, work), jobs, bar)
    if failed:
        typer.echo(f"{failed} cells failed; run again to try them again", err=True)
        raise typer.Exit(1)


def run_all(cells: list[Cell], more: tuple[Data, Path | None, Path, Path], jobs: int, bar: tqdm[Any]) -> int:
    """Run cells in processes of their own, `jobs` at a time; the number of those that failed.

    :param more: the further arguments of `run_cell`
    """
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    for cell in cells:
        waiting.put(cell)
    with ThreadPoolExecutor(jobs) as threads:
        workers = [threads.submit(_work, waiting, more, bar) for _ in range(jobs)]
        try:
            return sum(worker.result() for worker in workers)
        except BaseException:  # Ctrl-C: nothing new is begun
            with suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _work(waiting: queue.SimpleQueue[Cell], more: tuple[Any, ...], bar: Any) -> int:
    """Run waiting cells in a process of their own until none is left; the number of those that failed.

    A process that dies takes its cell with it; the next cell has a new one.
    """
    failed, child, ours = 0, None, None
    while True:
        try:
            cell = waiting.get_nowait()
        except queue.Empty:
            break
        if child is None or not child.is_alive():
            ours, theirs = _SPAWN.Pipe()
            child = _SPAWN.Process(target=_serve, args=(theirs, more), daemon=True)
            child.start()
            theirs.close()
        assert ours is not None
        try:
            ours.send(cell)
            problem = ours.recv()
        except (EOFError, OSError):
            child.join()
            problem = f"its process ended with code {child.exitcode}"
        if problem:
            failed += 1
            tqdm.write(f"{cell.name} failed: {problem}")
        bar.update(not problem)
    if child is not None:
        child.terminate()
    return failed


def _serve(pipe: Connection, more: tuple[Any, ...]) -> None:
    while True:
        try:
            run_cell(pipe.recv(), *more)
            pipe.send("")
        except EOFError:
            return
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["mine"]:  # a suite that is made of the data, with options of its own
        from benchmarks.mine import app

        app(sys.argv[2:], prog_name="python -m benchmarks.run mine")
    typer.run(main)
