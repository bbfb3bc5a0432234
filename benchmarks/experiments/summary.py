"""All suites on one page: python -m benchmarks.summary

Writes benchmarks/results/README.md: the ranking of methods over data sets, the verdict on every claim, and
the suites that have not run with their commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.stats import rankdata

from benchmarks.experiments.jobs import RESULTS
from benchmarks.experiments.learning_curves import RANDOM
from benchmarks.experiments.statistics import Outcome
from benchmarks.experiments.suite import FOLDER, Suite, SuiteError, read_suite
from benchmarks.experiments.tables import claim_rows

Cells = dict[tuple[str, str, int], float]  # (method, budget, seed) -> Dice


def outcomes(results: Path) -> tuple[list[Outcome], list[Suite]]:
    """Return the outcome of every suite that has finished cells, and the suites that have none."""
    paths = sorted(FOLDER.glob("*.yaml"))
    all_outcomes = [Outcome(read_suite(path.stem), results / path.stem) for path in paths]
    begun = [outcome for outcome in all_outcomes if len(outcome.missing) < len(outcome.suite.cells)]
    return begun, [outcome.suite for outcome in all_outcomes if outcome not in begun]


def by_data(finished: list[Outcome]) -> dict[str, Cells]:
    """Return the Dice of all cells by data set; suites with the same data set and protocol share cells."""
    data: dict[str, Cells] = {}
    for outcome in finished:
        cells = data.setdefault(f"{outcome.suite.data} ({outcome.suite.protocol})", {})
        for method, budget in outcome.rows:
            values = outcome.values((method, budget), "dice")
            cells |= {(method, budget, seed): dice for seed, dice in values.items()}
    return data


def methods_of(cells: Cells, active: bool) -> set[str]:
    """Return the methods with cells of multi-stage budgets (`active`), or of single-stage ones."""
    return {method for method, budget, _ in cells if ("+" in budget) == active}


def gains(cells: Cells, methods: list[str], active: bool) -> list[float]:
    """Return each method's mean difference to random, over the budgets and seeds that all of them have."""
    runs = {(budget, seed) for _, budget, seed in cells if ("+" in budget) == active}
    shared = [(b, s) for b, s in sorted(runs) if all((method, b, s) in cells for method in methods)]
    if not shared:
        return [float("nan")] * len(methods)
    dice = np.array([[cells[method, b, s] for b, s in shared] for method in methods])
    return list((dice - dice[methods.index(RANDOM)]).mean(axis=1))


def rank_rows(data: dict[str, Cells], active: bool) -> Iterator[str]:
    """Rank the methods that ran on every data set by mean rank; 1 is best.

    Left out are data without random labels, or with one method beside them: these leave nothing to rank.
    """
    ran = {name: methods_of(cells, active) for name, cells in data.items()}
    data = {name: cells for name, cells in data.items() if len(ran[name]) > 2 and RANDOM in ran[name]}
    if not data:
        return
    methods = sorted(set.intersection(*(ran[name] for name in data)))
    gained = np.array([gains(cells, methods, active) for cells in data.values()]).T
    ranks = rankdata(-gained, axis=0)
    real = [not name.startswith("phantoms") for name in data]  # drawings say nothing about patients
    means = ranks[:, real if any(real) else slice(None)].mean(axis=1)
    yield f"| method | mean rank on real data | {' | '.join(name.partition(' (')[0] for name in data)} |"
    yield "|---" * (2 + len(data)) + "|"
    for at in np.argsort(means, kind="stable"):
        row = [f"{rank:g} ({gain:+.4f})" for rank, gain in zip(ranks[at], gained[at], strict=True)]
        yield f"| {methods[at]} | {means[at]:.2f} | {' | '.join(row)} |"


def waiting_rows(suites: list[Suite]) -> Iterator[str]:
    """Name the suites without a cell, each with the command that runs it, or goes on with it."""
    yield "| suite | data | protocol | cells | command |"
    yield "|---|---|---|---|---|"
    for suite in suites:
        command = f"`python -m benchmarks.run {suite.name} --studies IMAGES --labels MASKS --weights WEIGHTS`"
        yield f"| {suite.name} | {suite.data} | {suite.protocol} | 0 of {len(suite.cells)} | {command} |"


def page(finished: list[Outcome], waiting: list[Suite]) -> str:
    """Return the page, in Markdown."""
    data = by_data(finished)
    lines = [
        "# Evidence",
        "",
        "Written by `python -m benchmarks.summary` from the cells in these folders. Methods are ranked",
        "within their table; in brackets the mean difference in Dice to random labels, paired by seed, over",
        "the budgets that all of them have. Ranks do not show uncertainty: see the page of each suite.",
        "",
        "Cold start, all labels picked at once:",
        "",
        *rank_rows(data, active=False),
        "",
        "A cold start, then rounds with a model:",
        "",
        *rank_rows(data, active=True),
        "",
        "Protocols: " + "; ".join(data) + ".",
    ]
    for outcome in finished:
        name, cells = outcome.suite.name, outcome.suite.cells
        lines += ["", f"## [{name}]({name}/README.md)", ""]
        lines += [f"{len(cells) - len(outcome.missing)} of {len(cells)} cells have run.", ""]
        lines += [*claim_rows(outcome)]
    if waiting:
        lines += ["", "## Not run yet", "", *waiting_rows(waiting)]
    return "\n".join(lines) + "\n"


def main(
    results: Annotated[Path, typer.Option(help="Folder with one subfolder per suite", exists=True)] = RESULTS,
) -> None:
    """Write the README.md of all suites that have finished cells."""
    try:
        finished, waiting = outcomes(results)
    except SuiteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if not finished:
        typer.echo(f"{results} has no finished cell: python -m benchmarks.run SUITE ...", err=True)
        raise typer.Exit(1)
    (results / "README.md").write_text(page(finished, waiting))
    typer.echo(f"Written: {results / 'README.md'}, {len(finished)} suites")


if __name__ == "__main__":
    typer.run(main)
