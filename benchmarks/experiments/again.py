"""Run finished cells of a suite again and compare the results.

    python -m benchmarks.again montgomery_reduced --cells 10 --studies IMAGES --labels MASKS --weights WEIGHTS

Nothing of the first run is reused: features and models are computed in a temporary folder. Results are
reproducible for the same versions on the same kind of processor, each cell on one thread; differences in
these are reported first. Exits with 1 if a number differs.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm

from benchmarks.experiments.data import Data
from benchmarks.experiments.jobs import RESULTS, Jobs, check_data, unfinished
from benchmarks.experiments.results import CELLS, read_cells
from benchmarks.experiments.suite import Cell, Suite, SuiteError, read_suite
from benchmarks.hardware import processor
from pool.imaging.images import ImageError
from strategies.planning.planner import versions


def chosen(suite: Suite, folder: Path, names: list[str], count: int, seed: int) -> list[Cell]:
    """Return the named cells, or `count` finished ones sampled with the seed. Raises SuiteError."""
    missing = {cell.name for cell in unfinished(suite.cells, folder)}
    finished = {cell.name: cell for cell in suite.cells if cell.name not in missing}
    if unknown := [name for name in names if name not in finished]:
        raise SuiteError(f"{suite.name} has no finished cell {unknown[0]!r} in {folder}")
    if not finished:
        raise SuiteError(f"{folder} has no finished cell: python -m benchmarks.run {suite.name} ...")
    drawn = random.Random(seed).sample(sorted(finished), min(count, len(finished)))
    return [finished[name] for name in names or drawn]


def surroundings(cells: list[dict[str, Any]]) -> list[str]:
    """List the processor and versions of the first run that differ from the current ones, one per line."""
    now = {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(), **versions()}
    lines = []
    for name, value in now.items():
        before = {(cell | cell["versions"]).get(name) for cell in cells} - {value}
        lines += [f"{name}: {value} now, {other} then" for other in sorted(map(str, before))]
    return lines


def differences(first: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """Describe how two runs of a cell differ; empty if picks and scores are equal."""
    lines = []
    for before, now in zip(first["stages"], again["stages"], strict=True):
        at, (old, new) = (
            f"at {now['labels']} labels",
            ([pick["image"] for pick in stage["picks"]] for stage in (before, now)),
        )
        if old != new:
            places = sum(a != b for a, b in zip(old, new, strict=True))
            lines.append(f"{at}: {places} of {len(old)} picks, {len(set(old) - set(new))} other images")
        for metric in ("dice", "hd95"):
            if before[metric] != now[metric]:
                lines.append(f"{at}: {metric} {before[metric]:.6f}, now {now[metric]:.6f}")
        lines += [f"{at}: {line}" for line in _image_differences(before["images"], now["images"])]
    return lines


def _image_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    if old.keys() != new.keys():
        return [f"{len(old.keys() ^ new.keys())} held-out images are not in both"]
    lines = []
    for metric in ("dice", "hd95"):
        apart = {
            image: max(abs(a - b) for a, b in zip(old[image][metric], new[image][metric], strict=True))
            for image in old
        }
        count, worst = sum(value > 0 for value in apart.values()), max(apart, key=lambda image: apart[image])
        if count:
            lines.append(f"{metric} of {count} of {len(old)} images, by at most {apart[worst]:.2g} ({worst})")
    return lines


def main(
    suite: Annotated[str, typer.Argument(help="Name of a file in benchmarks/suites, or a path.")],
    studies: Annotated[Path, typer.Option(help="Folder of images", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true masks, named like the images", exists=True)],
    weights: Annotated[Path | None, typer.Option(help="Folder with the encoder's weights")] = None,
    cells: Annotated[int, typer.Option(help="Number of finished cells to sample", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the sampling")] = 0,
    cell: Annotated[list[str] | None, typer.Option(help="Run this cell instead; may be repeated")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder with cells.jsonl; default benchmarks/results/SUITE")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Cells to run in parallel, each on one thread", min=1)] = 1,
) -> None:
    """Run finished cells again and compare them with the results on file."""
    try:
        loaded = read_suite(suite)
        folder = out or RESULTS / loaded.name
        todo, data = chosen(loaded, folder, cell or [], cells, seed), Data(studies, labels)
        check_data(folder, data)
    except (SuiteError, ImageError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    first = read_cells(folder)
    for line in surroundings([first[chosen_cell.name] for chosen_cell in todo]):
        typer.echo(line)
    with (
        tempfile.TemporaryDirectory(prefix="again-") as scratch,
        tqdm(total=len(todo), unit="cell") as bar,
    ):
        work = Path(scratch) / "work"
        work.mkdir()
        unequal = Jobs(todo, (data, weights, Path(scratch) / CELLS, work), bar).run(jobs)
        for name, result in read_cells(Path(scratch)).items():
            lines = differences(first[name], result)
            unequal += bool(lines)
            tqdm.write("\n  ".join([f"{name}: {'DIFFERS' if lines else 'equal'}", *lines]))
    typer.echo(f"{len(todo) - unequal} of {len(todo)} cells are equal")
    raise typer.Exit(1 if unequal else 0)


if __name__ == "__main__":
    typer.run(main)
