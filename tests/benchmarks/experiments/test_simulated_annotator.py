"""`benchmarks.simulate` with real servers: twice with one seed, and with wrong arguments."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from benchmarks.experiments.simulate import main
from benchmarks.phantoms.generate import generate
from tests.forked import own_nursery

COMMAND = typer.Typer()
COMMAND.command()(main)


def simulate(folder: Path, out: Path, *more: str) -> Result:
    line = ["--studies", folder / "studies", "--labels", folder / "labels", "--out", out]
    line += ["--budget", "3+2", "--seed", "43", "--epochs", "2"]
    line += ["--conf", "image_size=64", "--conf", "channels=[4,8]", "--conf", "instant=false", *more]
    return CliRunner().invoke(COMMAND, [str(word) for word in line])


def words(done: Result) -> str:
    """Return what was said, without the box that typer draws."""
    return " ".join(done.output.replace("│", " ").split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    created = tmp_path_factory.mktemp("simulate")
    generate(created, count=14, seed=2, size=96)
    return created


def test_two_runs_with_one_seed_are_the_same_run(folder: Path, tmp_path: Path, long: bool) -> None:
    ledgers: list[dict[str, Any]] = []
    for name in ("a", "b"):
        # in the long form the second one's processes have other hashes of strings
        with own_nursery() if long and name == "b" else nullcontext():
            done = simulate(folder, tmp_path / name)
        assert done.exit_code == 0, done.output
        ledgers.append(json.loads((tmp_path / name / "ledger.json").read_text()))
    assert [p["image"] for p in ledgers[0]["picks"]] == [p["image"] for p in ledgers[1]["picks"]]
    assert [s["images"] for s in ledgers[0]["stages"]] == [s["images"] for s in ledgers[1]["stages"]]
    assert [s["labels"] for s in ledgers[0]["stages"]] == [3, 5]
    assert len(ledgers[0]["settings"]["test"]) == 3
    held_out = {Path(name).stem for name in ledgers[0]["settings"]["test"]}
    assert not held_out & {p["image"] for p in ledgers[0]["picks"]}
    assert [p["selection"]["stage"] for p in ledgers[0]["picks"]] == ["cold_start"] * 3 + ["active"] * 2
    assert Image.open(tmp_path / "a" / "curve.png").size[0] > 500

    again = simulate(folder, tmp_path / "a")  # finished: nothing is labelled or trained again
    assert again.exit_code == 0
    assert json.loads((tmp_path / "a" / "ledger.json").read_text()) == ledgers[0]
    other = simulate(folder, tmp_path / "a", "--strategy", "random")
    assert other.exit_code != 0 and "another strategy" in words(other)


def test_wrong_arguments_are_named(folder: Path, tmp_path: Path) -> None:
    for more, says in (
        (("--budget", "8+x"), "8+4+4"),
        (("--budget", "30"), "30 is more than"),
        (("--studies", str(folder)), "has no images"),
    ):
        done = simulate(folder, tmp_path / "out", *more)
        assert done.exit_code != 0 and says in words(done)
