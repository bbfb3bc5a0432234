"""Figures of single cells of a suite: the picks on the map, and the predictions of the models.

    python -m benchmarks.figures montgomery_reduced --seed 43 --budget 12 --methods random,cold_start \\
        --overlay-budget 8+4 --overlay-methods 'random,alpha 0.3' --studies IMAGES --labels MASKS --weights W

maps.png follows Figure 6 of arXiv 2601.18532, overlays.png its Figure 5: the held-out images on which two
methods differ most, in each direction, and the median one. Selection and models are the product's; models
that `benchmarks.run` left in the work folder are not trained again.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.experiments.cell import Run
from benchmarks.experiments.data import Data
from benchmarks.experiments.jobs import RESULTS
from benchmarks.experiments.results import read_cells
from benchmarks.experiments.suite import Cell, Suite, SuiteError, read_suite
from benchmarks.pictures.maps import Panel, draw_maps
from benchmarks.pictures.overlays import Sample, draw_overlays, extremes
from infers.metrics import dice_per_image
from infers.segmentation.task import Predictor
from pool.imaging.images import image_id
from pool.imaging.labels import read_label
from strategies.selectors.cold_start import CLUSTER


def names_of(text: str) -> list[str]:
    """Split a comma-separated list of methods; a comma followed by a space is part of a name."""
    return re.split(r",(?! )", text)


def cells_of(suite: Suite, methods: list[str], budget: str, seed: int) -> list[Cell]:
    """Return the cell of each method. Raises SuiteError."""
    by_key = {(cell.method, cell.budget, cell.seed): cell for cell in suite.cells}
    for method in methods:
        if (method, budget, seed) not in by_key:
            available = ", ".join(sorted({f"{m!r} at {b}" for m, b, s in by_key if s == seed}))
            raise SuiteError(
                f"{suite.name} has no cell {method!r} at {budget} of seed {seed}; it has {available}"
            )
    return [by_key[method, budget, seed] for method in methods]


@contextmanager
def opened(cell: Cell, data: Data, weights: Path | None, work: Path) -> Iterator[Run]:
    """Open the pool of a cell, before its first label, for the duration of the block."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        run = Run(cell, data, weights, Path(folder), work)
        try:
            yield run
        finally:
            run.store.close()


def label_all(run: Run, train_last: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Label all stages of a cell; return its picks, and the scores after the last stage that was trained."""
    picks: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    for stage, step in enumerate(run.cell.steps):
        strategy = run.cell.then if stage else run.cell.first
        if train_last or stage + 1 < len(run.cell.steps):
            result = run.stage(strategy, step, len(picks) + step)
            picks += result["picks"]
        else:
            picks += run.label(strategy, step)
    return picks, result


def panel_of(run: Run) -> Panel:
    """Return the map of a cell's pool with its picks."""
    picks, _ = label_all(run, train_last=False)
    layout, clusters = (
        run.context.layout(),
        run.context.state.scores.measures(run.context.cold_key).get(CLUSTER, {}),
    )
    if layout is None:
        raise SuiteError(f"{run.cell.name} has no map: its pool is too small")
    rows = {image: row for row, image in enumerate(layout.images)}
    return Panel(
        run.cell.method,
        layout.points,
        [int(clusters.get(image, -1)) for image in layout.images],
        [rows[pick["image"]] for pick in picks],
        [str(pick["role"] or "random") for pick in picks],
    )


def samples_of(runs: list[Run]) -> list[Sample]:
    """Return the held-out images on which two cells differ most, and the median one."""
    scores = []
    for run in runs:
        images, metric = label_all(run, train_last=True)[1]["images"], run.bundle.get("metric")
        dice = {image: dice_per_image({image: score}, metric) for image, score in images.items()}
        scores.append({image: values[0] for image, values in dice.items() if values})
    one, other = scores
    paths, labels = {image_id(path.name): path for path in runs[0].test}, runs[0].bundle.get("labels")
    predict = [Predictor(run.context.model_file) for run in runs]
    return [
        Sample(
            paths[image],
            reason,
            read_label(runs[0].data.label_of[image], labels, paths[image]),
            [(p.label(str(paths[image]))[0], score[image]) for p, score in zip(predict, scores, strict=True)],
        )
        for reason, image in extremes({i: other[i] - one[i] for i in one}, [run.cell.method for run in runs])
    ]


def warn_of_others(run: Run, picks: list[str], folder: Path) -> None:
    """Warn if the finished cell has other picks: another processor or version may give another map."""
    finished = read_cells(folder).get(run.cell.name)
    if finished is not None:
        kept = [pick["image"] for stage in finished["stages"] for pick in stage["picks"]]
        if sorted(kept) != sorted(picks):
            typer.echo(
                f"{run.cell.name}: these picks differ from those of the finished cell in {folder}", err=True
            )


def main(
    suite: Annotated[str, typer.Argument(help="Name of a file in benchmarks/suites, or a path.")],
    studies: Annotated[Path, typer.Option(help="Folder of images", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of true masks, named like the images", exists=True)],
    seed: Annotated[int, typer.Option(help="Seed of the cells")],
    budget: Annotated[str, typer.Option(help="Budget of the maps' cells, such as 12 or 8+4")],
    methods: Annotated[str, typer.Option(help="Methods of the maps, comma-separated")] = "random,cold_start",
    overlay_budget: Annotated[
        str, typer.Option(help="Budget of the overlays' cells; default: the maps'")
    ] = "",
    overlay_methods: Annotated[
        str, typer.Option(help="Two methods for the overlays; default: the maps' first two")
    ] = "",
    weights: Annotated[Path | None, typer.Option(help="Folder with the encoder's weights")] = None,
    work: Annotated[Path, typer.Option(help="Work folder of benchmarks.run (features and models)")] = Path(
        "runs/cells"
    ),
    out: Annotated[Path | None, typer.Option(help="Output folder; default benchmarks/results/SUITE")] = None,
) -> None:
    """Write maps.png and overlays.png of a suite."""
    torch.set_num_threads(1)  # as in benchmarks.run
    logging.disable(logging.INFO)
    try:
        loaded = read_suite(suite)
        shown = cells_of(loaded, names_of(methods), budget, seed)
        pair = names_of(overlay_methods) if overlay_methods else names_of(methods)[:2]
        if len(pair) != 2:
            raise SuiteError(f"overlays compare two methods, not {len(pair)}: --overlay-methods A,B")
        compared = cells_of(loaded, pair, overlay_budget or budget, seed)
        data = Data(studies, labels)
    except (SuiteError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    folder = out or RESULTS / loaded.name
    work.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    panels = []
    for cell in shown:
        with opened(cell, data, weights, work) as run:
            panels.append(panel_of(run))
            warn_of_others(run, run.store.get_labeled_images(), folder)
    encoders = ", ".join(sorted({cell.encoder.rpartition(":")[2] for cell in shown}))
    draw_maps(panels, f"{loaded.data}, seed {seed}: map of {encoders}", folder / "maps.png")
    with ExitStack() as stack:
        runs = [stack.enter_context(opened(cell, data, weights, work)) for cell in compared]
        samples = samples_of(runs)
    title = f"{loaded.data}, seed {seed}, {overlay_budget or budget} labels; {loaded.protocol}"
    draw_overlays(samples, pair, title, folder / "overlays.png")
    typer.echo(f"Written: {folder / 'maps.png'}, {folder / 'overlays.png'}")


if __name__ == "__main__":
    typer.run(main)
