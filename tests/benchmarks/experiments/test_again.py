"""Rerun finished cells: equal or not, and if not, which numbers and by how much."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from benchmarks.experiments import again
from benchmarks.experiments.cell import run_cell
from benchmarks.experiments.data import Data
from benchmarks.experiments.results import pack
from benchmarks.experiments.suite import SuiteError, read_suite
from benchmarks.phantoms.generate import generate
from tests.benchmarks.experiments.test_suite import TINY

CELL: dict[str, Any] = {
    "device": "a processor",
    "versions": {"torch": "1"},
    "stages": [
        {
            "labels": 2,
            "dice": 0.5,
            "hd95": 3.0,
            "picks": [{"image": "a"}, {"image": "b"}],
            "images": {"x": {"dice": [0.4], "hd95": [2.0]}, "y": {"dice": [0.6], "hd95": [4.0]}},
        }
    ],
}


def test_equal_cells_have_no_difference_and_the_time_is_none() -> None:
    later = copy.deepcopy(CELL)
    later["stages"][0]["seconds"] = 5
    assert again.differences(CELL, later) == []


def test_what_differs_is_said_and_by_how_much() -> None:
    other = copy.deepcopy(CELL)
    stage = other["stages"][0]
    stage["picks"] = [{"image": "b"}, {"image": "c"}]
    stage["dice"], stage["images"]["y"]["dice"] = 0.525, [0.65]
    assert again.differences(CELL, other) == [
        "at 2 labels: 2 of 2 picks, 1 other images",
        "at 2 labels: dice 0.500000, now 0.525000",
        "at 2 labels: dice of 1 of 2 images, by at most 0.05 (y)",
    ]
    del stage["images"]["y"]
    assert "at 2 labels: 1 held-out images are not in both" in again.differences(CELL, other)


def test_another_processor_and_other_versions_are_named() -> None:
    lines = again.surroundings([CELL])
    assert any(line.startswith("device: ") and line.endswith("a processor then") for line in lines)
    assert any(line.startswith("torch: ") and line.endswith("1 then") for line in lines)


@pytest.mark.usefixtures("own_process")
def test_finished_cells_repeat_and_a_changed_one_is_found(tmp_path: Path) -> None:
    generate(tmp_path / "phantoms", count=16, seed=1, size=64)
    studies, labels = tmp_path / "phantoms" / "studies", tmp_path / "phantoms" / "labels"
    name = tmp_path / "tiny.yaml"
    name.write_text(yaml.safe_dump(TINY))
    suite, out = read_suite(str(name)), tmp_path / "out"
    with pytest.raises(SuiteError, match="no finished cell"):
        again.chosen(suite, out, [], 2, 0)
    (tmp_path / "work").mkdir()
    app = typer.Typer()
    app.command()(again.main)
    line = [f"{name}", "--studies", f"{studies}", "--labels", f"{labels}", "--out", f"{tmp_path / 'out'}"]
    files = [
        run_cell(c, Data(studies, labels), None, out / "cells", tmp_path / "work") for c in suite.cells[:2]
    ]
    content = json.loads(files[1].read_text())
    content["stages"][0]["dice"] += 0.25
    files[1].write_text(json.dumps(content))
    pack(out)
    compared = CliRunner().invoke(app, line)
    assert compared.exit_code == 1 and "1 of 2 cells are equal" in compared.output, compared.output
    unknown = CliRunner().invoke(app, [*line, "--cell", "active_4+2_43"])
    assert unknown.exit_code == 2 and "no finished cell 'active_4+2_43'" in unknown.output
