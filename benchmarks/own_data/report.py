"""The report of `benchmarks.run mine`, as HTML and Markdown: recommendations for a user's own data."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.experiments.statistics import Key, Outcome
from benchmarks.own_data.advice import Advice, Rows, above, advise, below
from benchmarks.own_data.data import Own
from infers.metrics import SIZE
from strategies.selectors.registry import METHODS, Round
from strategies.settings import COLD_METHODS

RADIMAGENET = "RadImageNet-ResNet50_notop.pth"
MIN_COLD_START = 4  # labels; with fewer, the first model has seen next to nothing
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#777777"  # Okabe and Ito


@dataclass(frozen=True)
class Facts:
    """Facts about the run that the report states.

    :param budget: labels of a full row
    :param command: the command that made the report
    """

    own: Own
    encoders: list[str]
    budget: int
    groups: str
    weights: Path | None
    command: str


@dataclass(frozen=True)
class Line:
    """One table row, as text."""

    labels: str
    method: str
    seeds: int
    dice: str
    hd95: str
    failures: str
    against: str
    needed: str


def lines(rows: Rows) -> Iterator[Line]:
    """Yield a table row for every method and budget, by labels."""
    for key in sorted(rows.cell, key=lambda key: sum(rows.cell[key].steps)):
        dice, hd95 = (list(rows.outcome.values(key, name).values()) for name in ("dice", "hd95"))
        if not dice:
            yield Line(key[1], key[0], 0, "", "", "", "", "")
            continue
        full, other = key in rows.full, (rows.random[0], str(sum(rows.cell[key].steps)))
        against = rows.against(key, other) if key != other else None
        yield Line(
            key[1],
            key[0],
            len(dice),
            f"{np.mean(dice):.3f} ± {np.std(dice, ddof=1) if len(dice) > 1 else 0:.3f}",
            f"{np.mean(hd95):.1f}",
            f"{sum(rows.outcome.values(key, 'failures').values()):.0f}",
            str(against or ""),
            _labels_needed(rows, key) if full and key != rows.random else "",
        )


def _labels_needed(rows: Rows, key: Key) -> str:
    needed = rows.needed(key)
    if needed is None:
        return "not reached"
    return f"{rows.half} or fewer" if needed <= rows.half else f"{needed:.1f}"


def conf(rows: Rows, key: Key, facts: Facts) -> list[str]:
    """Return the `--conf` options that make a server select as a row did.

    A cold start of a few images, as little data allows, is not passed on: the app's default is kept.
    """
    cell, weights = rows.cell[key], facts.weights or Path("WEIGHTS")
    settings = {"encoder": cell.encoder}
    if cell.steps[0] >= MIN_COLD_START:
        settings["cold_start_budget"] = str(cell.steps[0])
    if cell.encoder.startswith("transformers:"):
        settings["encoder"] = f"transformers:{weights / cell.encoder.partition(':')[2]}"
    if cell.encoder == "radimagenet":
        settings["encoder_weights"] = str(weights / RADIMAGENET)
    if cell.first in COLD_METHODS:
        settings["cold_start_method"] = cell.first
    else:
        settings["strategies"] = cell.first
    if len(cell.steps) > 1:
        settings["batch_size"] = str(cell.steps[1])
        then, alpha = METHODS[cell.then], cell.settings.get("alpha", 0.3)
        alpha = then.arguments(Round(alpha=alpha)).get("alpha", alpha)
        settings |= {"active_method": then.kind, "alpha": f"{alpha:g}"}
        settings |= {name: str(value) for name, value in cell.settings.items() if name != "alpha"}
    if cell.groups:
        settings["groups"] = cell.groups
    if facts.own.volumes:
        settings["labels"] = json.dumps(facts.own.labels)
        settings |= {name: str(facts.own.overrides[name]) for name in ("in_channels", "modality_rule")}
    return [f"--conf {name} {shlex.quote(value)}" for name, value in settings.items()]


def draw(rows: Rows, advice: Advice) -> bytes:
    """Plot the curves of random, the recommendation and the best other, and all differences to random."""
    figure = Figure(figsize=(11, 4.2 + 0.12 * len(rows.full)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _curves(left, rows, advice)
    _differences(right, rows)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _curves(axis: Axes, rows: Rows, advice: Advice) -> None:
    shown = {rows.random: _GREY, advice.key: _BLUE}
    others = {key: value.mean for key, value in rows.compared.items() if key not in shown}
    if others:
        shown[max(others, key=others.__getitem__)] = _ORANGE
    for at, (key, colour) in enumerate(shown.items()):
        curve = rows.curve(key)
        x = np.array(list(curve)) + 0.04 * rows.budget * (at - 1) / 2
        values = [list(of.values()) for of in curve.values()]
        spread = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in values]
        axis.errorbar(
            x, [float(np.mean(v)) for v in values], spread, fmt="o-", capsize=3, color=colour, label=key[0]
        )
    axis.set(xlabel="labels", ylabel="Dice on held-out images", title="mean ± SD over repetitions")
    axis.set_xticks([rows.half, rows.budget])
    axis.grid(alpha=0.3)
    axis.legend()


def _differences(axis: Axes, rows: Rows) -> None:
    compared = sorted(rows.compared.items(), key=lambda item: item[1].mean)
    for at, (_, value) in enumerate(compared):
        colour = _GREEN if above(value) else _ORANGE if below(value) else _GREY
        axis.plot(value.mean, at, "o", color=colour)
        if value.low is not None and value.high is not None:
            axis.plot([value.low, value.high], [at, at], color=colour, linewidth=2)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(compared)), [f"{method}, {budget}" for (method, budget), _ in compared])
    axis.set(
        xlabel=f"Dice - random at {rows.budget} labels",
        title="paired; joint 95 % intervals",
    )
    axis.grid(alpha=0.3, axis="x")


def write_report(outcome: Outcome, facts: Facts, out: Path) -> None:
    """Write report.html, report.md and curves.png."""
    rows = Rows(outcome, facts.budget)
    advice = advise(rows)
    picture = draw(rows, advice)
    cells = [cell for key in outcome.rows for cell in outcome.cells(key)]
    templates = Environment(
        loader=PackageLoader("benchmarks.own_data"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = {
        "advice": advice,
        "conf": conf(rows, advice.key, facts) if advice.is_measured else [],
        "lines": list(lines(rows)),
        "facts": facts,
        "suite": outcome.suite,
        "unit": "mm" if facts.own.volumes else f"pixels at {SIZE}",
        "held_out": sorted({len(cell["stages"][-1]["images"]) for cell in cells}),
        "devices": sorted({cell["device"] for cell in cells}),
        "dates": sorted({cell["date"] for cell in cells}),
        "versions": sorted({f"{name} {v}" for cell in cells for name, v in cell["versions"].items()}),
        "picture": base64.b64encode(picture).decode(),
    }
    measured = templates.get_template("mine.txt").render(content)
    content["measured"] = [text for part in measured.split("\n\n") if (text := part.strip())]
    (out / "curves.png").write_bytes(picture)
    for name in ("html", "md"):
        (out / f"report.{name}").write_text(templates.get_template(f"mine.{name}").render(content))
