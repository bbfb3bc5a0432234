"""The lead's command line, before the first start of a server and beside a running one."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from monailabel.interfaces.utils.app import clear_cache
from typer.testing import CliRunner

from benchmarks.annotator import Annotator
from benchmarks.server_process import ROOT, Server
from server.cli.main import app
from server.places import state_name, states_folder
from tests.server.conftest import TINY


class Lead:
    """Runs the commands on one pool."""

    def __init__(self, folder: Path, instant: bool) -> None:
        self.folder = folder
        self.conf = {**TINY, "preset": "paper", "state": folder / "state", "validation_budget": 2}
        self.conf["instant"] = instant  # as the server that `start` starts

    def __call__(self, command: str, *arguments: object, ends: int = 0, **more: object) -> str:
        line = [command, *map(str, arguments)]
        line += ["--app", str(ROOT / "apps" / "cxr_lungs"), "--studies", str(self.folder / "studies")]
        for key, value in {**self.conf, **more}.items():
            line += ["--conf", f"{key}={value}"]
        clear_cache()  # each command opens the pool anew, as a process of its own does
        done = CliRunner().invoke(app, line)
        assert done.exit_code == ends, done.output
        return done.output


@pytest.fixture(scope="module")
def lead(phantoms: Path, tmp_path_factory: pytest.TempPathFactory, long: bool) -> Lead:
    folder = tmp_path_factory.mktemp("pool")
    shutil.copytree(phantoms / "studies", folder / "studies")
    shutil.copytree(phantoms / "labels", folder / "labels")
    (folder / "studies" / "broken.png").write_bytes(b"no image")
    return Lead(folder, instant=long)


def test_a_pool_is_prepared_and_planned_before_a_server_starts(lead: Lead) -> None:
    assert "16 of 17 images are on the map; stage cold_start" in lead("prepare")
    planned = lead("plan", "--count", 3).splitlines()
    assert len(planned) == 3 and "The most typical image of cluster 1 (rank 1 of" in planned[0]
    lead("next", wanted := planned[2].split()[1])
    again = [line.split()[1] for line in lead("plan", "--count", 3).splitlines()]
    assert again == [wanted, *(line.split()[1] for line in planned[:2])]
    assert lead("plan", "--strategy", "random").splitlines()
    lead("unmark", wanted)
    assert "broken: " in lead("status") and json.loads(lead("status", "--json"))["failed"] == 1
    assert lead("retry") == "Images to be tried again: 1\n"
    assert json.loads(lead("status", "--json"))["failed"] == 0
    lead("prepare")
    assert json.loads(lead("status", "--json"))["failed"] == 1, "tried, and still no image"


def test_without_conf_the_state_is_where_the_server_has_it(lead: Lead, tmp_path: Path) -> None:
    """In the user's data folder, or in the app's folder if a former version made it there."""
    cxr, studies = tmp_path / "cxr_lungs", str((lead.folder / "studies").resolve())
    shutil.copytree(ROOT / "apps" / "cxr_lungs", cxr, ignore=shutil.ignore_patterns("state", "logs", "model"))
    line = ["status", "--app", str(cxr), "--studies", studies, "--json"]
    for folder in (states_folder(str(cxr)), cxr / "state"):
        (folder / state_name(studies)).mkdir(parents=True)
        done = CliRunner().invoke(app, line)
        assert done.exit_code == 0 and json.loads(done.stdout)["images"] == 17, done.output
        assert (folder / state_name(studies) / "pool.db").exists()


def test_conf_is_written_as_for_the_server(lead: Lead) -> None:
    cxr, state = str(ROOT / "apps" / "cxr_lungs"), ["--state", str(lead.folder / "other")]
    line = ["status", "-a", cxr, "-s", str(lead.folder / "studies"), *state, "--json"]
    line += ["--conf", "alpha", "0.5", "-c", "cold_start_budget=7", "--conf=seed=3"]
    done = CliRunner().invoke(app, line)
    chosen = json.loads(done.stdout)
    assert (chosen["alpha"], chosen["cold_start_budget"], chosen["seed"]) == (0.5, 7, 3)
    assert (lead.folder / "other" / "pool.db").exists()
    assert "alpha needs a value" in CliRunner().invoke(app, ["status", "--conf", "alpha"]).output


def test_beside_a_server_it_steers_and_reports(lead: Lead, start: Callable[..., Server]) -> None:
    server = start(lead.folder / "studies", lead.folder / "state", preset="paper", validation_budget=2)
    alone = CliRunner().invoke(app, ["status", "--json"])
    assert json.loads(alone.stdout)["validation"]["budget"] == 2, "the settings of the server that runs"
    assert f"The pool of the server at {server.url}: " in alone.stderr
    annotator = Annotator(server.url, lead.folder / "labels")
    first = annotator.ask("auto")["id"]
    assert lead("plan").split()[1] != first, "it is in somebody's hands"
    second = lead("plan").split()[1]
    lead("skip", second, "--reason", "no chest", "--as", "Dr. Lead")
    assert requests.get(f"{server.url}/selection/handouts", timeout=30).json()["skipped"] == {
        second: "no chest"
    }
    assert "in the hands of simulated annotator" in lead("skip", first, ends=1)
    lead("unmark", second)
    lead("next", second)
    annotator.send(first)
    assert annotator.label_next("auto")["id"] == second
    for _ in range(4):
        annotator.label_next("auto")
    annotator.train(epochs=None)
    annotator.wait_ready(rounds=1)
    ours = json.loads(lead("status", "--json"))
    theirs = requests.get(f"{server.url}/selection/status", timeout=30).json()
    for_pages = {
        "allowed",
        "labels",
        "next_step",
        "training",
    }  # what the server knows of who asks and of its tasks
    assert theirs.keys() - ours.keys() == for_pages
    theirs = {key: value for key, value in theirs.items() if key in ours}
    assert {**ours, "progress": None} == {**theirs, "progress": None}  # it says how long ago
    out = lead.folder / "report"
    lead("report", "--out", out)
    (row,) = csv.DictReader((out / "rounds.csv").open())
    assert row["labels"] == "4" and row["dice_images"] == "2" and 0 <= float(row["dice_mean"]) <= 1
    page = (out / "report.html").read_text()
    assert "simulated annotator" in page and "No advice yet" in page
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    lead("ledger", "--out", out / "ledger.jsonl")
    entries = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert entries == requests.get(f"{server.url}/selection/ledger", timeout=30).json()


def test_mistakes_are_said_in_one_line(lead: Lead) -> None:
    assert "there is no image 'nobody' in this pool" in lead("skip", "nobody", ends=1)
    assert "--conf alfa: there is no such key" in lead("status", ends=1, alfa=1)
    assert "there is no strategy 'best'" in lead("plan", "--strategy", "best", ends=1)
    away = CliRunner().invoke(app, ["status", "--app", "apps/no", "--studies", str(lead.folder)])
    assert away.exit_code == 1 and "there is no app" in away.output
    cxr = str(ROOT / "apps" / "cxr_lungs")
    away = CliRunner().invoke(app, ["status", "--app", cxr, "--studies", str(lead.folder / "studeis")])
    assert away.exit_code == 1 and "does not exist" in away.output
    elsewhere = ["--studies", "http://127.0.0.1:9/dicom-web", "--conf", "engine=ray"]
    away = CliRunner().invoke(
        app, ["status", "--app", cxr, *elsewhere, "--conf", "shared_studies=file:///bucket"]
    )
    assert away.exit_code == 1 and "shared_studies is for a folder of studies" in away.output


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["new-app", "--help"], "Usage: scan-selection new-app"),
        (["new-app", "cxr_lungs", "--labels", "a"], "exists;"),
        (["dicom-in", "--help"], "--patient"),
    ],
)
def test_all_commands_are_in_one_tree(line: list[str], says: str) -> None:
    done = CliRunner().invoke(app, line, prog_name="scan-selection")
    assert says in " ".join(done.output.split()), done.output
