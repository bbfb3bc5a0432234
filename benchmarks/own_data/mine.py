"""Choose a strategy, encoder and budget for your own data, from images that are already labelled.

    python -m benchmarks.run mine --studies IMAGES --labels MASKS [--weights WEIGHTS] [--budget 12] [--jobs 2]

A fifth of the images is held out; the rest acts as an unlabelled pool. Each method labels images from it with
your masks; a network is trained on them with a shortened protocol, the same for all methods, and evaluated.
The result is one page, `report.html` and `report.md` in the folder given by --out. If interrupted, run the
same command again to resume.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from filelock import FileLock, Timeout
from tqdm import tqdm

from benchmarks.experiments.data import Data
from benchmarks.experiments.jobs import Jobs, unfinished
from benchmarks.experiments.results import CELLS, packing
from benchmarks.experiments.simulate import groups_of, split
from benchmarks.experiments.statistics import Outcome
from benchmarks.experiments.suite import Cell, Suite, SuiteError, suite_of
from benchmarks.own_data.data import DataError, Own, check_groups, look, write_masks
from benchmarks.own_data.report import RADIMAGENET, Facts, write_report
from infers.encoders import CSAL3D, check_encoder

FIRST_SEED = 43
HELD_OUT = 0.2
MIN_IMAGES = 8  # in a pool: two labels and two more, and a budget of at most half the pool
DRAWS = 3  # of random labels per split, which are averaged: all others are compared with them
DESCRIPTOR = "descriptor"
app: typer.Typer = typer.Typer(add_completion=False)


def encoders_of(weights: Path | None, requested: Sequence[str]) -> list[str]:
    """Return the descriptor and the requested encoders, or else the usable ones in the folder.

    Raises DataError if a requested encoder is unusable.
    """
    candidates = list(requested)
    if not requested and weights:
        candidates += [
            f"transformers:{folder.parent.name}" for folder in sorted(weights.glob("*/config.json"))
        ]
        candidates += ["radimagenet"] * (weights / RADIMAGENET).is_file()
    usable = [DESCRIPTOR]
    for name in candidates:
        kind, _, folder = name.partition(":")
        try:
            if name == CSAL3D:
                raise ValueError("takes hours on each pool; write a suite for it instead")
            if kind == "transformers" and weights:
                check_encoder(f"{kind}:{weights / folder}")
            else:
                check_encoder(name, str(weights / RADIMAGENET) if weights and name == "radimagenet" else None)
            usable.append(name)
        except (ValueError, OSError) as error:
            if name in requested:
                raise DataError(f"--encoder {name}: {error}") from error
            typer.echo(f"Skipping encoder {name}: {error}", err=True)
    return list(dict.fromkeys(usable))


def bounded(own: Own, budget: int, seeds: Sequence[int], groups: str) -> int:
    """Limit the budget to half of the smallest pool. Raises DataError if there are too few images."""
    images = list(own.images.values())
    rows = groups_of(images, groups) if groups else None
    pool = min(len(split(images, HELD_OUT, seed, rows)[0]) for seed in seeds)
    if pool < MIN_IMAGES:
        raise DataError(
            f"{len(images)} labelled images are too few: a fifth is held out, which leaves {pool} for the "
            f"pool, and the pool needs {MIN_IMAGES}. Provide at least "
            f"{round(MIN_IMAGES / (1 - HELD_OUT))} images, better 60"
        )
    return min(budget, pool // 2)


def plan(own: Own, data: str, encoders: Sequence[str], budget: int, more: dict[str, Any]) -> Suite:
    """Build the suite: every method at half and at the full budget; active methods start from half.

    :param data: changes with images and masks, so that finished cells of other data are not reused
    :param more: seeds, groups, overrides and quick
    """
    half = budget // 2
    step = budget - half
    first = "cold_start" if own.everywhere else "typiclust"
    cold: dict[str, Any] = {"kmeans_to_budget": {}, "cold_start": {}, "typiclust": {}}
    rounds: dict[str, tuple[dict[str, Any], str]] = {
        "alpha 0.3": ({"then": "active", "settings": {"alpha": 0.3}}, f"{half}+{step}"),
        "entropy": ({"then": "entropy"}, f"{half}+{step}"),
        "adaptive alpha": (
            {"then": "active", "settings": {"alpha_schedule": "adaptive"}},
            f"{half}+{step // 2}+{step - step // 2}",
        ),
    }
    if not own.everywhere:
        rounds["foreground-aware"] = ({"then": "foreground_active"}, f"{half}+{step}")
    if more["quick"]:
        names = ("alpha 0.3", "foreground-aware")
        cold, rounds = {first: {}}, {name: rounds[name] for name in names if name in rounds}
    budgets = [str(half), str(budget)]
    random = {"first": "random", "draws": 1 if more["quick"] else DRAWS}
    methods = {"random": random, "foreground_random": {"first": "foreground_random"}}
    cells: list[dict[str, Any]] = [{"budgets": budgets, "methods": methods}]
    for encoder in encoders:
        named = f" ({short(encoder)})" if len(encoders) > 1 else ""
        methods = {name + named: {"first": name, "encoder": encoder} for name in cold}
        cells.append({"budgets": budgets, "methods": methods})
        for name, (how, stages) in rounds.items():
            method = {name + named: {"first": first, "encoder": encoder, **how}}
            cells.append({"budgets": [stages], "methods": method})
    protocol = ", ".join(f"{key} {value}" for key, value in more["overrides"].items() if value)
    content = {
        "app": own.app,
        "data": data,
        "protocol": protocol,
        "overrides": more["overrides"] | {"labels": own.labels},
        "encoder": DESCRIPTOR,
        "test_split": HELD_OUT,
        "seeds": more["seeds"],
        "groups": more["groups"],
        "cells": cells,
        "claims": [],
    }
    return suite_of(content, "mine")


def short(encoder: str) -> str:
    """Return an encoder's name without its folder."""
    return Path(encoder.rpartition(":")[2]).name


def announce(todo: Sequence[Cell], seconds: float, jobs: int) -> None:
    """Print an estimate of the time left.

    :param seconds: time per training, overhead included; active methods share their first stage with other
        cells
    """
    count = sum(max(1, len(cell.steps) - 1) for cell in todo)
    minutes = count * seconds / min(jobs, len(todo)) / 60
    tqdm.write(
        f"{len(todo)} cells are left, about {max(minutes, 1):.0f} min with {jobs} in parallel. You may "
        "interrupt; the same command resumes."
    )


def named(pairs: Sequence[str]) -> dict[str, int]:
    """Parse ["lung=255"] to {"lung": 255}. Raises DataError."""
    codes: dict[str, int] = {}
    for pair in pairs:
        name, _, value = pair.rpartition("=")
        if not name.strip() or not value.strip().isdecimal() or name in codes or int(value) in codes.values():
            raise DataError(f"--label {pair}: expected NAME=VALUE, each name and value once, such as liver=1")
        codes[name] = int(value)
    return codes


@app.command()
def main(
    studies: Annotated[Path, typer.Option(help="Folder of labelled images", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of masks, named like the images", exists=True)],
    weights: Annotated[
        Path | None, typer.Option(help="Folder of encoders (make weights); all of them are compared")
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="Compare only this encoder with the descriptor; may be repeated")
    ] = None,
    budget: Annotated[int, typer.Option(help="Number of labels, at most half the pool", min=4)] = 12,
    seeds: Annotated[int, typer.Option(help="Repetitions; intervals need at least 5", min=1)] = 5,
    groups: Annotated[
        str, typer.Option(help="Patient of each image: a pattern with one group, or a CSV (image,group)")
    ] = "",
    label: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE: name of a value in the masks; may be repeated")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs per training; default 30, with --quick 15", min=1)
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Size of pictures; default 128, with --quick 64", min=16)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for cells, work and the report")] = Path("runs/mine"),
    jobs: Annotated[int, typer.Option(help="Cells to run in parallel, each on one thread", min=1)] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer methods, shorter trainings")] = False,
) -> None:
    """Recommend a strategy, encoder and budget for your own data."""
    try:
        own = look(studies, labels, named(label or []))
        if groups:
            check_groups(own, groups)
        chosen, numbers = encoders_of(weights, encoder or []), list(range(FIRST_SEED, FIRST_SEED + seeds))
        size = {} if own.volumes else {"image_size": image_size or (64 if quick else 128)}
        more = {
            "seeds": numbers,
            "groups": groups,
            "quick": quick,
            "overrides": size | {"epochs": epochs or (15 if quick else 30)} | own.overrides,
        }
        budget = bounded(own, budget, numbers, groups)
        masks = out / "work" / "masks"
        write_masks(own, masks)
        data = Data(studies, masks)
        suite = plan(own, f"{len(own.images)} images, {data.digest}", chosen, budget, more)
        todo = unfinished(suite.cells, out)
        with FileLock(out / "running.lock", timeout=0), packing(out):
            failed = _run(suite, todo, data, (weights, out, jobs))
        outcome = Outcome(suite, out)
    except Timeout:
        typer.echo(f"another command is running in {out}: wait for it, or choose another --out", err=True)
        raise typer.Exit(2) from None
    except (DataError, SuiteError, OSError) as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(2) from None
    if len(outcome.missing) < len(suite.cells):
        command = shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]])
        write_report(outcome, Facts(own, chosen, budget, groups, weights, command), out)
        typer.echo(f"Written: {out / 'report.html'}, {out / 'report.md'}")
    if failed:
        typer.echo(f"{failed} cells failed; run the same command again to retry them", err=True)
        raise typer.Exit(1)


def _run(suite: Suite, todo: list[Cell], data: Data, how: tuple[Path | None, Path, int]) -> int:
    """Run the remaining cells, the first one alone to time it; return the number of failures."""
    weights, out, jobs = how
    work, folder, failed = out / "work", out / CELLS, 0
    work.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(suite.cells), initial=len(suite.cells) - len(todo), unit="cell") as bar:
        if len(todo) > 1:
            tqdm.write("Running the first cell to estimate the time ...")
            started = time.monotonic()
            failed = Jobs(todo[:1], (data, weights, folder, work), bar).run(1)
            announce(todo[1:], time.monotonic() - started, jobs)
            todo = todo[1:]
        return failed + Jobs(todo, (data, weights, folder, work), bar).run(jobs)
