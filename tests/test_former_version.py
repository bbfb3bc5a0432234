"""A pool, an app, a bundle and a backup of a former version (`tests/former/README.md`) go on working."""

from __future__ import annotations

import filecmp
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
from monailabel.client import MONAILabelClient

from benchmarks.server_process import ROOT, Server
from bundle_configs import Bundle
from pool.database.state import State
from pool.datastore import PoolDatastore
from tests.forked import run

FORMER = Path(__file__).with_name("former")
LEDGER = json.loads((FORMER / "ledger.json").read_text())
LABELLED = ["phantom_000", "phantom_001", "phantom_002", "phantom_005", "phantom_006"]
CONF = {"epochs": 2, "image_size": 32, "channels": "[4,8]", "cold_start_budget": 4, "batch_size": 2}


def labels_of(studies: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((studies / "labels" / "final").glob("*.png"))}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A copy of the pool's `studies` and `state`."""
    for name in ("studies", "state"):
        shutil.copytree(FORMER / name, tmp_path / name)
    return tmp_path


def test_a_server_goes_on_with_the_pool(pool: Path) -> None:
    with Server("cxr_lungs", pool / "studies", {**CONF, "state": pool / "state"}, pool / "log.txt") as server:
        server.wait()
        client = MONAILabelClient(server.url, tmpdir=str(pool), client_id="ann")
        info, answer = client.info(), client.next_sample("auto", {})
        ledger = requests.get(f"{server.url}/selection/ledger", timeout=60).json()
        status = requests.get(f"{server.url}/selection/status", timeout=60).json()
        handouts = requests.get(f"{server.url}/selection/handouts", timeout=60).json()
        file, params = client.infer("segmentation", "phantom_003", {"device": "cpu"})
    assert ledger[: len(LEDGER)] == LEDGER and list((pool / "state").glob("pool.db.before-*"))
    assert info["datastore"]["completed"] == len(LABELLED) and status["round"] == 1
    assert handouts["skipped"] == {"phantom_007": "rotated"}
    assert answer["id"] in {"phantom_003", "phantom_004"} and answer["selection"]["reason"]
    assert Path(file).stat().st_size
    assert params["label_names"].items() <= Bundle("cxr_lungs").get("labels").items()
    assert labels_of(pool / "studies") == labels_of(FORMER / "studies")


def test_the_journal_of_a_killed_process_is_read(pool: Path) -> None:
    store = PoolDatastore(str(pool / "studies"), Bundle("cxr_lungs").get("labels"))
    try:
        assert store.get_labeled_images() == LABELLED
        assert store.get_label_info("phantom_000", "final")["client_id"] == "killed"
        assert store.get_label_info("phantom_001", "final")["client_id"] == "ann"
    finally:
        store.close()


def test_everything_in_the_database_is_found(pool: Path) -> None:
    state = State(pool / "state", migrate=True)
    assert state.ledger.entries()[: len(LEDGER)] == LEDGER
    assert len(state.embeddings.fingerprints("descriptor:1")) == 8 and len(state.models.all()) == 1
    assert state.handouts.skipped() == {"phantom_007": "rotated"}
    keys = {entry["details"]["key"] for entry in LEDGER if entry["event"] == "plan"}
    assert keys and all(state.plans.newest(key) is not None for key in keys), "stored plan keys"
    model = state.models.all()[0].fingerprint
    assert len(state.scores.entropies(model)) and state.maps.newest("descriptor:1|tsne|30|42") is not None


def test_an_app_that_make_app_wrote_starts(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    packages = ("apps", "bundle_configs", "server", "strategies", "infers", "trainers", "pool")
    for package in packages:
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("state", "logs"))
    shutil.copytree(FORMER / "app", checkout / "apps" / "former_app")
    shutil.copytree(FORMER / "bundle_config", checkout / "bundle_configs" / "former_app")
    shutil.rmtree(pool / "studies" / "labels")
    monkeypatch.chdir(checkout)  # where `python -m` looks for packages first
    folder, env = str(checkout / "apps" / "former_app"), {"PYTHONPATH": str(checkout)}
    with Server(folder, pool / "studies", {"state": pool / "new"}, pool / "log.txt", env=env) as server:
        server.wait()
        client = MONAILabelClient(server.url, tmpdir=str(pool), client_id="ann")
        info = client.info()
        assert info["name"] == "Former app" and info["labels"] == ["lungs"], info
        assert client.next_sample("auto", {})["id"]


def test_an_exported_bundle_predicts_with_our_code_as_with_its_own(tmp_path: Path) -> None:
    zipfile.ZipFile(FORMER / "bundle.zip").extractall(tmp_path)
    bundle, studies = tmp_path / "cxr_lungs", tmp_path / "studies"
    studies.mkdir()
    shutil.copy(FORMER / "studies" / "phantom_003.png", studies)
    predicted: list[Any] = []
    for name, path in (("own", bundle), ("ours", ROOT)):
        config = ["monai.bundle", "run", "--config_file", str(bundle / "configs" / "inference.json")]
        files = ["--images", str(studies), "--output", str(tmp_path / name)]
        files += ["--checkpoint", str(bundle / "models" / "model.pt"), "--device", "cpu"]
        run("-m", *config, *files, cwd=tmp_path, env={"PYTHONPATH": str(path)})
        predicted.append(sorted((tmp_path / name).iterdir()))
    (own,), (ours,) = predicted
    assert own.name == ours.name and filecmp.cmp(own, ours, shallow=False)


def test_a_backup_is_restored(tmp_path: Path) -> None:
    studies, state = tmp_path / "studies", tmp_path / "state"
    studies.mkdir()
    for image in (FORMER / "studies").glob("*.png"):
        shutil.copy(image, studies)
    places = ("--studies", str(studies), "--state", str(state))
    run("-m", "server.pool", "restore", str(FORMER / "backup.tar"), *places)
    assert labels_of(studies) == labels_of(FORMER / "studies")
    assert State(state).ledger.entries()[: len(LEDGER)] == LEDGER
    assert filecmp.cmp(state / "model.pt", FORMER / "state" / "model.pt", shallow=False)
