"""Tables and plots of a suite from its cells: python -m benchmarks.tables montgomery_reduced

Writes README.md and curves.png beside the cells. Prints nothing that the cells do not hold; what has not run
is an empty cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from textwrap import wrap
from typing import Annotated

import matplotlib
import numpy as np
import typer

from benchmarks.run import RESULTS
from benchmarks.statistics import Outcome, area, labels_needed
from benchmarks.suite import SuiteError, read_suite

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)

RANDOM = "random"
_NOTE = """\
HD95 as `infers/metrics.py` defines it; below 0.5: held-out images with less Dice, all seeds together.
Intervals: percentile bootstrap over seeds, from five seeds on. A seed fixes the held-out
images, the selection and the first weights, and differences are paired by seed. Held-out images take no
part in selection."""


def total(budget: str) -> int:
    """Labels of a budget such as "8+4"."""
    return sum(map(int, budget.split("+")))


def result_rows(outcome: Outcome) -> Iterator[str]:
    """One line per method and budget."""
    yield "| labels | method | seeds | Dice, mean ± SD | HD95, mean ± SD | below 0.5 | Dice - random [95 %] |"
    yield "|---|---|---|---|---|---|---|"
    for key in sorted(outcome.rows, key=lambda key: total(key[1])):
        method, budget = key
        dice, hd95 = (list(outcome.values(key, name).values()) for name in ("dice", "hd95"))
        if not dice:
            yield f"| {budget} | {method} | 0 | | | | |"
            continue
        against = outcome.difference(key, (RANDOM, budget)) if method != RANDOM else None
        yield (
            f"| {budget} | {method} | {len(dice)} | {np.mean(dice):.4f} ± {_sd(dice):.4f} | "
            f"{np.mean(hd95):.2f} ± {_sd(hd95):.2f} | {sum(outcome.values(key, 'failures').values()):.0f} | "
            f"{against or ''} |"
        )


def _sd(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def curves(outcome: Outcome) -> dict[str, list[tuple[int, list[float]]]]:
    """By method: (labels, Dice of each seed) of its one-stage budgets, where any seed has run."""
    found: dict[str, list[tuple[int, list[float]]]] = {}
    for method, budget in outcome.rows:
        values = list(outcome.values((method, budget), "dice").values())
        if "+" not in budget and values:
            found.setdefault(method, []).append((total(budget), values))
    return {method: sorted(points) for method, points in found.items() if len(points) > 1}


def curve_rows(outcome: Outcome) -> Iterator[str]:
    """Area under each method's curve, and the labels that it needs for random's last Dice."""
    found = curves(outcome)
    if RANDOM not in found:
        return
    yield "| method | area under the curve | labels for random's Dice at the largest budget |"
    yield "|---|---|---|"
    wanted = float(np.mean(found[RANDOM][-1][1]))
    for method, points in found.items():
        labels, dice = [n for n, _ in points], [float(np.mean(values)) for _, values in points]
        needed = labels_needed(labels, dice, wanted)
        shown = "never" if needed is None else f"{needed:.1f}"
        yield f"| {method} | {area(labels, dice):.4f} | {shown} of {found[RANDOM][-1][0]} |"


def claim_rows(outcome: Outcome) -> Iterator[str]:
    """Each claim with its verdict and the difference in Dice that it rests on."""
    yield "| claim of the paper | here | Dice, difference [95 %], mean of the budgets | seeds |"
    yield "|---|---|---|---|"
    for claim in outcome.suite.claims:
        verdict, difference = outcome.answer(claim)
        seeds = difference.seeds if difference else 0
        yield f"| {claim.text} ({', '.join(claim.budgets)}) | {verdict} | {difference or ''} | {seeds} |"


def draw(outcome: Outcome, path: Path) -> None:
    """Mean Dice against labels, one line per method, bars of one standard deviation over seeds."""
    figure, axis = plt.subplots(figsize=(7, 4.4), layout="constrained")
    colours = cycle(["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"])
    for at, (method, points) in enumerate(curves(outcome).items()):
        x, colour = np.array([n for n, _ in points]) + 0.08 * at, next(colours)
        means, spread = [np.mean(v) for _, v in points], [_sd(v) for _, v in points]
        axis.errorbar(x, means, spread, fmt="o-", color=colour, capsize=3, label=method)
    for method, budget in outcome.rows:
        values = list(outcome.values((method, budget), "dice").values())
        if "+" in budget and values:
            axis.plot(
                total(budget) + 0.3, np.mean(values), "x", color=next(colours), label=f"{method}, {budget}"
            )
    run = {cell["cell"]["seed"] for key in outcome.rows for cell in outcome.cells(key)}
    wanted = {cell.seed for cell in outcome.suite.cells}
    title = f"{outcome.suite.protocol}; {len(run)} of {len(wanted)} seeds"
    axis.set(
        xlabel="labels",
        ylabel="mean Dice on held-out images",
        title="\n".join(wrap(title, 70)),
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def page(outcome: Outcome) -> str:
    """The README of a suite's results."""
    cells = [cell for key in outcome.rows for cell in outcome.cells(key)]
    devices = ", ".join(sorted({cell["device"] for cell in cells}))
    dates = sorted({cell["date"] for cell in cells})
    name = outcome.suite.name
    lines = [
        f"# {name}",
        "",
        f"Protocol: {outcome.suite.protocol}. {len(cells)} of {len(outcome.suite.cells)} cells have run "
        f"({dates[0]} to {dates[-1]}, {devices}).",
        "",
        f"    python -m benchmarks.run {name} --studies IMAGES --labels MASKS --weights WEIGHTS",
        f"    python -m benchmarks.tables {name}      # this page and the picture, from the cells",
        "",
        _NOTE,
        "",
        *result_rows(outcome),
        "",
        *curve_rows(outcome),
        "",
        *claim_rows(outcome),
        "",
        "![Learning curves](curves.png)",
        "",
    ]
    return "\n".join(lines)


def main(
    suite: Annotated[str, typer.Argument(help="Name of a file in benchmarks/suites, or a path.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder that has cells/; default benchmarks/results/SUITE")
    ] = None,
) -> None:
    """Write README.md and curves.png of a suite from its finished cells."""
    try:
        found = read_suite(suite)
    except SuiteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    folder = out or RESULTS / found.name
    outcome = Outcome(found, folder / "cells")
    if len(outcome.missing) == len(found.cells):
        typer.echo(f"{folder / 'cells'} has no finished cell: python -m benchmarks.run {suite} ...", err=True)
        raise typer.Exit(1)
    (folder / "README.md").write_text(page(outcome))
    draw(outcome, folder / "curves.png")
    typer.echo(f"Written: {folder / 'README.md'}; {len(outcome.missing)} cells have not run")


if __name__ == "__main__":
    typer.run(main)
