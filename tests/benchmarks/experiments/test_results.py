"""Finished cells as files and as lines: packing loses nothing, and damage is reported with its place."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.experiments import summary, tables
from benchmarks.experiments.jobs import unfinished
from benchmarks.experiments.results import pack, packing, read_cells
from benchmarks.experiments.suite import Cell, SuiteError, read_suite
from tests.benchmarks.experiments.test_suite import written


def cells_of(folder: Path) -> list[Cell]:
    """Return the cells `random`, `cold` and `active`."""
    by_method = {cell.method: cell for cell in read_suite(written(folder)).cells}
    return [by_method[method] for method in ("random", "cold", "active")]


def result_of(cell: Cell, **changes: Any) -> dict[str, Any]:
    stage = {"labels": 4, "dice": 0.1 + 0.2, "hd95": float("nan"), "failures": 0, "picks": [{"role": None}]}
    return {"stages": [stage | changes], "cell": cell.as_json(), "device": "Prozeßor"}


def finish(out: Path, cell: Cell, **changes: Any) -> Path:
    """Write a finished cell as a running suite does."""
    (out / "cells").mkdir(parents=True, exist_ok=True)
    file = out / "cells" / f"{cell.name}.json"
    file.write_text(json.dumps(result_of(cell, **changes), indent=1))
    return file


def test_packed_cells_are_sorted_lines_that_hold_what_the_files_held(tmp_path: Path) -> None:
    out, cells = tmp_path / "out", cells_of(tmp_path)
    for cell in cells:
        finish(out, cell)
    before = read_cells(out)
    pack(out)
    assert not list((out / "cells").iterdir())
    assert json.dumps(read_cells(out), sort_keys=True) == json.dumps(before, sort_keys=True)
    lines = (out / "cells.jsonl").read_text().splitlines()
    assert [Cell(**json.loads(line)["cell"]).name for line in lines] == sorted(cell.name for cell in cells)
    assert lines[0].startswith('{"cell":{"app":"cxr_lungs","budget":"4+2",') and '": ' not in lines[0]


def test_a_packed_suite_goes_on_and_takes_new_cells_in(tmp_path: Path) -> None:
    out, (random, cold, active) = tmp_path / "out", cells_of(tmp_path)
    finish(out, random)
    pack(out)
    line = (out / "cells.jsonl").read_text()
    finish(out, cold)
    (out / "cells" / "active_4+2_43.99.tmp").write_text('{"cell":')  # of a process that was killed
    assert unfinished([random, cold, active], out) == [active], "one is packed, one is a file"
    with pytest.raises(KeyboardInterrupt), packing(out):
        assert not list((out / "cells").glob("*.json")), "what a killed command left is packed at the start"
        finish(out, active)
        raise KeyboardInterrupt
    assert list(read_cells(out)) == ["active_4+2_43", "cold_4_43", "random_4_43"]
    assert line in (out / "cells.jsonl").read_text() and not list((out / "cells").glob("*.json"))
    before = (out / "cells.jsonl").stat().st_mtime_ns
    pack(out)
    assert (out / "cells.jsonl").stat().st_mtime_ns == before, "nothing new: the file is left alone"


def test_a_cell_in_both_forms_is_the_same_or_refused(tmp_path: Path) -> None:
    out, (cell, *_) = tmp_path / "out", cells_of(tmp_path)
    finish(out, cell)
    pack(out)
    file = finish(out, cell)
    pack(out)
    assert not file.exists() and len(read_cells(out)) == 1
    finish(out, cell, dice=0.4)
    before = (out / "cells.jsonl").read_bytes()
    for refused in (pack, read_cells):
        with pytest.raises(SuiteError, match="different results of one cell") as error:
            refused(out)
        assert f"{file}" in str(error.value) and f"{out / 'cells.jsonl'}, line 1" in str(error.value)
    assert file.exists() and (out / "cells.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "damage", ['{"cell":{"method":"cold"', "<<<<<<< HEAD", "\n{}", "[1]", '{"stages":[]}']
)
def test_a_damaged_line_is_named_and_nothing_is_lost(tmp_path: Path, damage: str) -> None:
    out, (random, cold, active) = tmp_path / "out", cells_of(tmp_path)
    finish(out, random)
    pack(out)
    file = finish(out, cold)
    with open(out / "cells.jsonl", "a") as lines:
        lines.write(damage + "\n")
    before = (out / "cells.jsonl").read_bytes()
    with pytest.raises(SuiteError, match=r"cells\.jsonl, line 2: not a finished cell"):
        unfinished([random, cold, active], out)
    with pytest.raises(SuiteError, match="line 2"):
        pack(out)
    assert file.exists() and (out / "cells.jsonl").read_bytes() == before


def test_a_merge_that_kept_a_cell_twice_is_named(tmp_path: Path) -> None:
    (random, *_) = cells_of(tmp_path)
    line, other = (json.dumps(result_of(random, dice=dice)) for dice in (0.3, 0.4))
    (tmp_path / "cells.jsonl").write_text(f"{line}\n{line}\n")
    assert len(read_cells(tmp_path)) == 1, "the same line twice is one cell"
    (tmp_path / "cells.jsonl").write_text("")
    assert read_cells(tmp_path) == {}
    (tmp_path / "cells.jsonl").write_text(f"{line}\n{other}")
    with pytest.raises(SuiteError, match=r"line 1 and .*cells\.jsonl, line 2 hold different results"):
        read_cells(tmp_path)


def test_a_file_under_another_cell_s_name_is_refused(tmp_path: Path) -> None:
    (random, *_) = cells_of(tmp_path)
    file = finish(tmp_path, random)
    file.rename(file.with_stem("cold_4_43"))
    with pytest.raises(SuiteError, match=r"cold_4_43\.json holds the cell random_4_43"):
        read_cells(tmp_path)


def test_commands_name_the_damaged_line(tmp_path: Path) -> None:
    results = tmp_path / "montgomery_methods"
    results.mkdir()
    (results / "cells.jsonl").write_text("{\n")
    for command, line in (
        (tables.main, ["montgomery_methods", "--out", f"{results}"]),
        (summary.main, ["--results", f"{tmp_path}"]),
    ):
        app = typer.Typer()
        app.command()(command)
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 2 and "cells.jsonl, line 1: not a finished cell" in done.output


def test_commands_that_pack_at_once_lose_no_cell(tmp_path: Path) -> None:
    seeds = list(range(40))
    cells = read_suite(written(tmp_path, seeds=seeds)).cells
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(_finish_and_pack, [tmp_path] * 4, [cells[at::4] for at in range(4)]))
    assert sorted(read_cells(tmp_path)) == sorted(cell.name for cell in cells)
    assert not list((tmp_path / "cells").glob("*.json"))


def _finish_and_pack(out: Path, cells: list[Cell]) -> None:
    for cell in cells:
        with packing(out):
            (out / "cells").mkdir(exist_ok=True)
            finish(out / cell.name, cell).replace(out / "cells" / f"{cell.name}.json")
