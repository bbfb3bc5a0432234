"""Measure the instant head: python -m benchmarks.instant --studies IMAGES --labels MASKS --encoder ENCODER

A cell is one data set, encoder, number of labels and seed. Finished cells never run again; the table of all
finished cells is written to README.md beside them.
"""

from __future__ import annotations

from collections.abc import Container
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from benchmarks.annotator import write_json
from benchmarks.experiments.jobs import RESULTS
from benchmarks.experiments.results import CELLS, packing, read_cells
from benchmarks.experiments.suite import cell_name
from benchmarks.hardware import processor, today
from benchmarks.instant.comparing import VARIANTS, compare
from benchmarks.instant.measuring import BUDGETS, measure
from benchmarks.instant.pool import LabelledPool, read_pool
from benchmarks.instant.speed import SPEED, measure_speed
from benchmarks.instant.table import write_table


def main(
    studies: Annotated[Path, typer.Option(help="Folder of images", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true masks, named like the images", exists=True)],
    name: Annotated[str, typer.Option(help="Name of the data set in the table")],
    classes: Annotated[list[int], typer.Option(help="A structure's value in the masks; give each")],
    encoder: Annotated[str, typer.Option(help="Encoder, as --conf encoder")] = "descriptor",
    weights: Annotated[str | None, typer.Option(help="As --conf encoder_weights")] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds", min=1)] = 10,
    speed: Annotated[bool, typer.Option(help="Measure seconds and bytes, too")] = False,
    heads: Annotated[list[str] | None, typer.Option("--compare", help=", ".join(VARIANTS))] = None,
    limit: Annotated[int | None, typer.Option(help="Use only the first images, by name")] = None,
    out: Annotated[Path, typer.Option(help="Folder for results")] = RESULTS / "instant",
    work: Annotated[Path, typer.Option(help="Cache of features; may be deleted")] = Path("runs/instant"),
) -> None:
    """Run the missing cells of one data set and encoder, then write the table of all."""
    variants = heads or []
    if unknown := set(variants) - set(VARIANTS):
        raise typer.BadParameter(f"no such head: {', '.join(sorted(unknown))}", param_hint="--compare")
    out.mkdir(parents=True, exist_ok=True)
    (out / CELLS).mkdir(exist_ok=True)
    kind = encoder.partition(":")[0] + (f" {Path(encoder.partition(':')[2]).name}" if ":" in encoder else "")
    name += f" (first {limit})" if limit else ""
    method = f"{name}, {kind}"
    names = [(cell_name(method, str(n), seed), n, seed) for seed in range(seeds) for n in BUDGETS]
    with packing(out):
        finished = read_cells(out)
        todo = [entry for entry in names if entry[0] not in finished]
        if todo or speed or variants:
            pool = read_pool(studies, labels, classes, encoder, weights, work, limit)
        for cell, n, seed in tqdm(todo, unit="cell"):
            key = {"data": name, "encoder": kind, "method": method, "budget": str(n), "seed": seed}
            result = {"cell": key, "date": today(), "device": processor(), **measure(pool, n, seed)}
            write_json(out / CELLS / f"{cell}.json", result)
        for variant in variants:
            _compare(pool, {"data": name, "encoder": kind, "variant": variant}, seeds, finished, out / CELLS)
    if speed:
        write_json(out / SPEED, {"device": processor(), "encoder": kind, "rows": measure_speed(pool, work)})
    write_table(out)


def _compare(
    pool: LabelledPool, key: dict[str, str], seeds: int, finished: Container[str], folder: Path
) -> None:
    """Run the missing cells of a variant."""
    variant, method = VARIANTS[key["variant"]], ", ".join(key.values())
    for seed, budget in tqdm(list(product(range(seeds), variant.budgets)), desc=method, unit="cell"):
        if (cell := cell_name(method, str(budget), seed)) not in finished:
            own = {**key, "method": method, "budget": str(budget), "seed": seed}
            result = {"cell": own, "date": today(), "device": processor()}
            write_json(folder / f"{cell}.json", result | compare(pool, variant, budget, seed))


if __name__ == "__main__":
    typer.run(main)
