"""An app that is not built answers as the built one, and one with ways of its own is built."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from monailabel.interfaces.utils.app import clear_cache
from typer.testing import CliRunner

from benchmarks.server_process import ROOT
from pool.database.handouts import Client
from server.cli.main import app
from server.cli.named import NamedPool
from server.cli.opened import UnbuiltApp, opened
from server.config import ConfigError
from tests.forked import run

CONF = {"cold_start_budget": "4", "strategies": "auto,random,cold_start"}


@pytest.fixture
def place(phantoms: Path, tmp_path: Path) -> Path:
    shutil.copytree(phantoms / "studies", tmp_path / "studies")
    return tmp_path


def line(place: Path, app_folder: Path, command: str, *arguments: str) -> list[str]:
    conf = [f"--conf={key}={value}" for key, value in {**CONF, "state": str(place / "state")}.items()]
    return [command, *arguments, "--app", str(app_folder), "--studies", str(place / "studies"), *conf]


def test_the_built_app_and_the_one_that_is_not_built_agree(place: Path) -> None:
    folder, conf = ROOT / "apps" / "cxr_lungs", [f"{k}={v}" for k, v in CONF.items()]
    conf.append(f"state={place / 'state'}")
    pool = NamedPool(folder, str(place / "studies"), conf=conf)
    with opened(pool) as unbuilt:
        assert isinstance(unbuilt, UnbuiltApp)
        unbuilt.state.handouts.skip_all(["phantom_003"], Client("lead"), "")
        unbuilt.state.failures.add("phantom_004", "1-1", "cannot be read")
        clear_cache()
        with opened(pool, build=True) as built:
            assert type(built).__name__ == "CxrLungs"
            assert unbuilt.selection_status(failures=True) == built.selection_status(failures=True)
            for strategy in ("auto", "random", "cold_start"):
                assert unbuilt.preview(strategy, 30) == built.preview(strategy, 30)
            assert unbuilt.context.settings == built.context.settings
            assert unbuilt.context.encoder_key == built.context.encoder_key
            assert unbuilt.state.folder == built.state.folder
    clear_cache()


def test_an_app_with_ways_of_its_own_is_built(place: Path) -> None:
    """Its method decides what the command prints."""
    own = place / "own"
    own.mkdir()
    source = (ROOT / "apps" / "cxr_lungs" / "main.py").read_text()
    method = """
    def selection_status(self, failures=False):
        return {"stage": "its own", "failures": {}}
"""
    (own / "main.py").write_text(source + method)
    done = run("-m", "server.cli", *line(place, own, "status"), cwd=ROOT)
    assert done.stdout.split() == ["stage", "its", "own"]


def test_a_damaged_main_is_named_in_one_line(place: Path) -> None:
    own = place / "own"
    own.mkdir()
    (own / "main.py").write_text("class (")
    done = CliRunner().invoke(app, line(place, own, "status"))
    assert done.exit_code == 1 and f"{own / 'main.py'}: cannot be read as Python" in done.output


def test_settings_of_a_data_set_are_read_as_in_the_server(place: Path) -> None:
    content = {"labels": {"0": "background", "1": "hippocampus"}, "modality": {"0": "CT"}}
    (place / "dataset.json").write_text(json.dumps(content))
    volumes = UnbuiltApp(str(place / "app"), str(place / "studies"), {}, "volumes")
    assert volumes.bundle.get("labels") == {"hippocampus": 1} and volumes.bundle.get("modality_rule") == "ct"
    assert volumes.context.encoder_key.endswith("|ct")
    with pytest.raises(ConfigError, match="there is no such key"):
        UnbuiltApp(str(place / "app"), str(place / "studies"), {"dataset": ""}, "cxr_lungs")
