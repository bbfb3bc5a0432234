"""Tables and plots of a suite from its cells: python -m benchmarks.tables montgomery_reduced

Writes README.md and curves.png beside the cells. Shows only what the cells contain; a row that has not run
stays empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Annotated

import matplotlib
import numpy as np
import typer

from benchmarks.experiments.headroom import headroom_rows
from benchmarks.experiments.jobs import RESULTS
from benchmarks.experiments.learning_curves import RANDOM, baseline_of, curve_rows, curves, total
from benchmarks.experiments.statistics import Key, Outcome
from benchmarks.experiments.suite import SuiteError, read_suite

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")  # Okabe and Ito
MARKS = "osD^vPX*<>hd"
_NOTE = """\
HD95 is defined in `infers/metrics.py`. Worst tenth: mean Dice of the worst tenth of the held-out images;
below 0.5: number of held-out images with a lower Dice, over all seeds. Dice of all: over all held-out
images and structures, with 1 where neither side has the structure. Painted on empty: share of the held-out
images without a structure on which the model paints one, for which Dice of images that show something costs
nothing. Pixels drawn: of the structures in all labels. Draws of one method on a split are averaged. Labels
for random's final Dice: where the mean curve first has it; the interval resamples seeds. Visible: the
smallest mean difference that this many seeds show with a power of 80 %. Intervals are percentile bootstrap
intervals over seeds and need at least five seeds. With five they are too narrow: a claim is confirmed or
contradicted only if Student's interval excludes zero too, and likely or unlikely if only the bootstrap
interval does. A seed fixes the held-out images, the selection and the initial weights; differences are
paired by seed. Held-out images take no part in selection. Duplicates are not detected, and selection
ignores patients unless a method says otherwise. An interval covers other splits of these images, not other
patients; intervals are not corrected for the number of claims."""
_MORE = {"all_dice": "Dice of all", "painted": "painted on empty", "pixels": "pixels drawn"}  # where known
_DIGITS = {"all_dice": 4, "painted": 2, "pixels": 0}
_METRIC = {"dice": "Dice", "all_dice": "Dice of all", "hd95": "HD95", "spread": "spread of Dice over seeds"}


def result_rows(outcome: Outcome) -> Iterator[str]:
    """Yield one table row per method and budget."""
    compare = outcome.suite.compare
    more = {text: metric for metric, text in _MORE.items() if _any(outcome, metric)}
    head = [
        "labels",
        "method",
        "seeds",
        "Dice, mean ± SD",
        "worst tenth",
        "HD95, mean ± SD",
        "below 0.5",
        *more,
    ]
    head += [f"Dice - {other} [95 %]" for other in compare]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for key in sorted(outcome.rows, key=lambda key: total(key[1])):
        method, budget = key
        dice, hd95, worst = (list(outcome.values(key, name).values()) for name in ("dice", "hd95", "worst"))
        if not dice:
            yield f"| {budget} | {method} | 0 |" + " |" * (len(head) - 3)
            continue
        against = [
            f"{outcome.difference(key, (other, budget)) or ''}" if method != other else ""
            for other in compare
        ]
        failures = sum(outcome.values(key, "failures").values())
        own = "".join(f"{_mean(outcome, key, metric)} | " for metric in more.values())
        yield (
            f"| {budget} | {method} | {len(dice)} | {_spread(dice, 4)} | "
            f"{np.mean(worst):.4f} | {_spread(hd95, 2)} | {failures:.0f} | "
            f"{own}{' | '.join(against)} |"
        )


def _any(outcome: Outcome, metric: str) -> bool:
    return any(outcome.values(key, metric) for key in outcome.rows)


def _mean(outcome: Outcome, key: Key, metric: str) -> str:
    values = list(outcome.values(key, metric).values())
    return f"{np.mean(values):.{_DIGITS[metric]}f}" if values else ""


def _spread(values: list[float], digits: int) -> str:
    """Format mean and standard deviation; only the mean if there is one value."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def claim_rows(outcome: Outcome) -> Iterator[str]:
    """Yield each claim with its verdict and the difference behind it; positive supports the claim."""
    yield (
        "| claim | verdict | metric | difference in its favour [95 %], mean over budgets | seeds | Student | "
        "visible |"
    )
    yield "|---" * 7 + "|"
    for claim in outcome.suite.claims:
        verdict, difference = outcome.answer(claim)
        row = f"{claim.text} ({', '.join(claim.budgets)}) | {verdict} | {_METRIC[claim.metric]}"
        student = difference and difference.student
        ends = f"[{student[0]:+.4f}, {student[1]:+.4f}]" if student else ""
        visible = f"{difference.visible:.4f}" if difference and difference.visible else ""
        yield f"| {row} | {difference or ''} | {difference.seeds if difference else 0} | {ends} | {visible} |"


def draw(outcome: Outcome, path: Path) -> None:
    """Plot mean Dice against labels, and the paired difference to the baseline with its interval."""
    names = list(dict.fromkeys(method for method, _ in outcome.rows))
    baseline = baseline_of(names) or RANDOM
    colour = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(names)}
    mark = {name: MARKS[at % len(MARKS)] for at, name in enumerate(names)}
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    lines = curves(outcome)
    for name, points in lines.items():
        means = [np.mean(list(values.values())) for _, values in points]
        left.plot([n for n, _ in points], means, "-", color=colour[name], alpha=0.5)
    budgets = sorted({total(budget) for _, budget in outcome.rows})
    positions = _positions(outcome, min(np.diff(budgets), default=1) * 0.4)
    for method, budget in outcome.rows:
        dice = list(outcome.values((method, budget), "dice").values())
        if not dice:
            continue
        at = positions[method, budget]
        style = {"color": colour[method], "marker": mark[method], "linestyle": "", "markersize": 5}
        if "+" not in budget or method not in lines:
            left.plot(at if "+" in budget else total(budget), np.mean(dice), **style)
        difference = outcome.difference((method, budget), (baseline, budget))
        if method != baseline and difference is not None:
            mean, low, high = difference.mean, difference.low, difference.high
            bars = None if low is None or high is None else [[mean - low], [high - mean]]
            right.errorbar(at, difference.mean, bars, capsize=2, **style)
    right.axhline(0, color="black", linewidth=0.8)
    for method in names:
        left.plot([], [], color=colour[method], marker=mark[method], label=method)
    finished_seeds = {cell["cell"]["seed"] for key in outcome.rows for cell in outcome.cells(key)}
    planned_seeds = {cell.seed for cell in outcome.suite.cells}
    title = (
        f"{outcome.suite.data}: {outcome.suite.protocol}; {len(finished_seeds)} of {len(planned_seeds)} seeds"
    )
    left.set(xlabel="labels", ylabel="mean Dice on held-out images", xticks=budgets)
    right.set(xlabel="labels", ylabel=f"Dice - {baseline}, paired by seed, 95 %", xticks=budgets)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.suptitle("\n".join(wrap(title, 120)), fontsize=10)
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=6)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _positions(outcome: Outcome, width: float) -> dict[Key, float]:
    """Return the x position of each row: its labels; rows with equal labels are spread over `width`."""
    positions: dict[Key, float] = {}
    for labels in {total(budget) for _, budget in outcome.rows}:
        rows = [key for key in outcome.rows if total(key[1]) == labels]
        places = np.linspace(-width / 2, width / 2, len(rows)) if len(rows) > 1 else [0.0]
        positions |= {key: labels + float(place) for key, place in zip(rows, places, strict=True)}
    return positions


def page(outcome: Outcome, folder: Path) -> str:
    """Return the README of the results in `folder`, with the pictures of `benchmarks.figures`, if any."""
    names = {"maps.png": "Maps of the pool with the picks", "overlays.png": "Held-out images"}
    pictures = [f"![{text}]({name})\n" for name, text in names.items() if (folder / name).exists()]
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
        f"    python -m benchmarks.tables {name}      # writes this page and the plot from the cells",
        "",
        _NOTE,
        "",
        *result_rows(outcome),
        "",
        *(
            f"At {budget} labels, these methods pick the same images: {', '.join(names)}.\n"
            for budget, names in outcome.alike()
        ),
        *curve_rows(outcome),
        "",
        *headroom_rows(outcome),
        *claim_rows(outcome),
        "",
        "![Learning curves](curves.png)",
        "",
        *pictures,
    ]
    return "\n".join(lines)


def main(
    suite: Annotated[str, typer.Argument(help="Name of a file in benchmarks/suites, or a path.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder with cells.jsonl; default benchmarks/results/SUITE")
    ] = None,
) -> None:
    """Write README.md and curves.png of a suite from its finished cells."""
    try:
        loaded = read_suite(suite)
        folder = out or RESULTS / loaded.name
        outcome = Outcome(loaded, folder)
    except SuiteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if len(outcome.missing) == len(loaded.cells):
        typer.echo(f"{folder} has no finished cell: python -m benchmarks.run {suite} ...", err=True)
        raise typer.Exit(1)
    (folder / "README.md").write_text(page(outcome, folder))
    draw(outcome, folder / "curves.png")
    typer.echo(f"Written: {folder / 'README.md'}; {len(outcome.missing)} cells have not run")


if __name__ == "__main__":
    typer.run(main)
