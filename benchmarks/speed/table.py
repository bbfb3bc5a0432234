"""The speed table: each row compares ours with a plain implementation of the same, in one run.

python -m benchmarks.speed --out benchmarks/results/speed

Every row is saved as soon as it is measured, and an interrupted run resumes after it; remove speed.json to
measure again. A part is a module of this folder with `COMPARISONS`, functions of `quick` that return one
`Row` each; or with `rows(quick)` only, which starts over if interrupted.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm

from benchmarks.annotator import write_json
from benchmarks.hardware import processor, today
from benchmarks.speed import complexity, methods
from benchmarks.speed.row import Row

GROWTH = {"complexity": complexity, "methods": methods}  # seconds by size instead of rows
PARTS = ("cluster", "models", "planning", "starting", "training")
_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "numba",
    "openTSNE",
    "torch",
    "transformers",
    "monai",
    "monailabel",
)
_EXTRAS = ("onnxruntime", "ray")
_COLUMNS = ("work", "plain way", "s", "ours", "s", "times faster", "do they agree", "goal", "note")


class Kept:
    """speed.json: the rows measured so far and their conditions."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self._file, head = folder / "speed.json", conditions(quick)
        self.found: dict[str, Any] = head | {"rows": {}, "done": []} | {part: {} for part in GROWTH}
        if self._file.exists():
            self.found |= json.loads(self._file.read_text())
            for key in ("quick", "processor", "device", "threads", "versions"):
                if self.found[key] != head[key]:
                    raise ValueError(
                        f"{self._file} was measured with {key} {self.found[key]!r}, this is {head[key]!r}: "
                        "choose another --out, or remove the file"
                    )

    def keep(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file, self.found)


def conditions(quick: bool) -> dict[str, Any]:
    """Return the conditions that the numbers depend on, besides the code."""
    installed = [*_PACKAGES, *(name for name in _EXTRAS if find_spec(name))]
    return {
        "quick": quick,
        "date": today(),
        "processor": processor(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "threads": os.environ.get("OMP_NUM_THREADS", "as many as there are"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in installed}},
    }


def works(part: str, quick: bool, kept: Kept) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the remaining work of a part, by name; each piece saves its own result."""
    if part in GROWTH:
        for count in GROWTH[part].sizes(quick):
            if str(count) not in kept.found[part]:
                yield f"{part}/{count}", partial(_measure_growth, part, count, kept)
        return
    module = importlib.import_module(f"benchmarks.speed.{part}")
    for compare in getattr(module, "COMPARISONS", ()):
        if (name := f"{part}/{compare.__name__}") not in kept.found["rows"]:
            yield name, partial(_save_row, name, partial(compare, quick), kept)
    if not hasattr(module, "COMPARISONS") and part not in kept.found["done"]:
        yield part, partial(_save_rows, part, module.rows(quick), kept)


def _measure_growth(part: str, count: int, kept: Kept) -> None:
    kept.found[part][str(count)] = GROWTH[part].measure(count)
    kept.keep()


def _save_row(name: str, compare: Callable[[], Row], kept: Kept) -> None:
    kept.found["rows"][name] = asdict(compare())
    kept.keep()


def _save_rows(part: str, rows: Iterator[Row], kept: Kept) -> None:
    for number, row in enumerate(rows):
        _save_row(f"{part}/{number}", lambda row=row: row, kept)  # type: ignore[misc]
    kept.found["done"].append(part)
    kept.keep()


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return all rows as Markdown, grouped by part and by clock."""
    text = ""
    for part, clock in dict.fromkeys((name.split("/")[0], row["clock"]) for name, row in rows.items()):
        lines = [_COLUMNS, ["---"] * len(_COLUMNS)]
        lines += [_cells(Row(**r)) for n, r in rows.items() if (n.split("/")[0], r["clock"]) == (part, clock)]
        text += f"## {part}, seconds of the {clock}\n" + _markdown(lines) + "\n"
    return text


def _cells(row: Row) -> list[str]:
    def seconds(value: float | None) -> str:
        return "not run" if value is None else f"{value:.3g}"

    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    cells = [row.work, row.baseline, seconds(row.baseline_s), row.ours, seconds(row.ours_s), ratio]
    return [*cells, row.same, goal_of(row), row.note]


def goal_of(row: Row) -> str:
    """Say whether a row reaches its goal."""
    words = {True: "reached", False: "not reached"}
    if row.limit_s is not None and row.ours_s is not None:
        return f"{row.limit_s:g} s: {words[row.ours_s <= row.limit_s]} ({row.ours_s:.3g} s)"
    if row.goal is not None and row.ratio is not None:
        return f"{row.goal:g} times: {words[row.ratio >= row.goal]} ({row.ratio:.3g})"
    return "" if row.goal is None and row.limit_s is None else "not measured"


def _markdown(lines: list[Any]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def write_report(folder: Path, content: Mapping[str, Any], command: str) -> None:
    """Write table.md, complexity.png and README.md."""
    text = table(content["rows"])
    for part, module in GROWTH.items():
        steps: dict[str, dict[int, float]] = {}
        for count, seconds in sorted(content[part].items(), key=lambda item: int(item[0])):
            for name, value in seconds.items():
                steps.setdefault(name, {})[int(count)] = value
        if len(content[part]) > 1:
            text += f"## {module.TITLE}\n{complexity.table(steps)}\n"
            if module is complexity:
                complexity.draw(steps, folder / "complexity.png")
                text += "![growth](complexity.png)\n\n"
    (folder / "table.md").write_text(text)
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    (folder / "README.md").write_text(
        f"# Speed\n    {command}\n\n{content['date']}, {content['processor']}, {content['device']}, "
        f"OMP_NUM_THREADS {content['threads']}; {versions}.\n\n"
        "[table.md](table.md) has the rows, speed.json the numbers; docs/speed.md explains them.\n"
    )


def main(
    out: Annotated[Path, typer.Option(help="Folder for speed.json, table.md, complexity.png, README.md")],
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: minutes instead of an hour")] = False,
    only: Annotated[str, typer.Option(help=f"Parts, comma-separated: {', '.join([*PARTS, *GROWTH])}")] = "",
) -> None:
    """Measure what is missing, and write the report."""
    parts = only.split(",") if only else [*PARTS, *GROWTH]
    if unknown := set(parts) - {*PARTS, *GROWTH}:
        typer.echo(f"unknown part {min(unknown)!r}; choose from: {', '.join([*PARTS, *GROWTH])}", err=True)
        raise typer.Exit(2)
    try:
        kept = Kept(out, quick)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    todo, failed = [work for part in parts for work in works(part, quick, kept)], 0
    command = f"python -m benchmarks.speed{' --quick' if quick else ''}{f' --only {only}' if only else ''}"
    kept.keep()
    for name, work in (bar := tqdm(todo, unit="row")):
        bar.set_description(name)
        try:
            work()
        except Exception:  # go on with the other rows
            failed += 1
            tqdm.write(f"{name} failed:\n{traceback.format_exc()}")
        write_report(out, kept.found, f"{command} --out {out}")
    write_report(out, kept.found, f"{command} --out {out}")
    typer.echo((out / "table.md").read_text())
    if failed:
        typer.echo(f"{failed} rows failed; run the command again to retry them", err=True)
        raise typer.Exit(1)
