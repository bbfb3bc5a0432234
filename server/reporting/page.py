"""The results as a standalone page: learning curves, annotators, advice and settings."""

from __future__ import annotations

import base64
import csv
import io
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator

from server.reporting.results import CrossValidated, Interval, Results, Round

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#666666"  # Okabe and Ito: safe for colour-blind readers
_ROUND_COLUMNS = ("round", "labels", "dice", "hd95", "failures", "gain", "agreement", "model", "created")


def draw(results: Results) -> bytes:
    """Draw the learning curves as PNG: Dice and HD95 against labels, with 95 % intervals."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    dice_axis, hd95_axis = figure.subplots(1, 2)
    _draw_curve(dice_axis, [(row, row.dice) for row in results.rounds], _BLUE, "mean Dice")
    if results.cross_validated:
        _draw_cross_validated(dice_axis, results.cross_validated)
    dice_axis.set_ylim(0, 1)  # else a gain of a hundredth would look like a large one
    _draw_curve(
        hd95_axis, [(row, row.hd95) for row in results.rounds], _ORANGE, f"mean HD95 ({results.unit})"
    )
    hd95_axis.set_ylim(bottom=0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _draw_curve(axis: Axes, points: Sequence[tuple[Round, Interval | None]], colour: str, name: str) -> None:
    measured = [(row.labels, value) for row, value in points if value]
    axis.set(xlabel="labels that the model was trained on", ylabel=name)
    axis.grid(alpha=0.3)
    if not measured:
        axis.text(0.5, 0.5, "no model has been measured yet", ha="center", transform=axis.transAxes)
        axis.set(xticks=[], yticks=[])
        return
    x, means = [labels for labels, _ in measured], [value.mean for _, value in measured]
    axis.plot(x, means, "o-", color=colour)
    bars = [(labels, v.low, v.high) for labels, v in measured if v.low is not None and v.high is not None]
    if bars:
        axis.vlines(*zip(*bars, strict=True), color=colour, alpha=0.4, linewidth=5)
    axis.set_xticks(sorted(set(x)))


def _draw_cross_validated(axis: Axes, points: Sequence[CrossValidated]) -> None:
    """Add the instant model's Dice, over the labels that it was fitted and cross-validated on."""
    for text in axis.texts:
        text.remove()
    axis.plot([p.labels for p in points], [p.dice for p in points], ".--", color=_GREY)
    axis.set_xticks(sorted({*(int(x) for x in axis.get_xticks()), points[0].labels, points[-1].labels}))
    axis.yaxis.set_major_locator(AutoLocator())
    axis.set_title("grey: instant model, cross-validated on its labels", fontsize="small")


def as_csv(results: Results) -> str:
    """Return CSV with one row per round, and columns for means, intervals and numbers of images."""
    buffer = io.StringIO()
    names = sorted({name for row in results.rounds for name in row.dice_per_class})
    ends = ("mean", "low", "high", "images")
    spread = {"dice", "hd95", "gain", "agreement"}
    columns = [[f"{name}_{end}" for end in ends] if name in spread else [name] for name in _ROUND_COLUMNS]
    writer = csv.writer(buffer)
    writer.writerow([*(column for group in columns for column in group), *(f"dice {name}" for name in names)])
    for row in results.rounds:
        cells: list[Any] = []
        for name in _ROUND_COLUMNS:
            value = getattr(row, name)
            cells += (
                ([asdict(value)[end] for end in ends] if value else [""] * 4) if name in spread else [value]
            )
        writer.writerow([*cells, *(row.dice_per_class.get(name, "") for name in names)])
    return buffer.getvalue()


def render(results: Results, status: dict[str, Any], name: str, whole: bool = True) -> str:
    """Render the report as HTML; with `whole` false, only the contents of its body."""
    picture = base64.b64encode(draw(results)).decode()
    templates = Environment(
        loader=PackageLoader("server.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters["interval"] = _interval_text
    templates.filters["date"] = lambda seconds: time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    page = templates.get_template("report.html" if whole else "results.html")
    return page.render(results=results, status=status, name=name, picture=picture, now=time.time())


def _interval_text(value: Interval | None, digits: int = 3) -> str:
    """Format an interval as "0.912 (0.880 to 0.931)", or a dash for None."""
    if value is None:
        return "–"
    if value.low is None or value.high is None:
        return f"{value.mean:.{digits}f}"
    return f"{value.mean:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"
