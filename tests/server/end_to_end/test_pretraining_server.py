"""Pretraining through a real server: started by the client, stopped, resumed, and used by selection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from monailabel.client import MONAILabelClient

from benchmarks.server_process import Server, running
from pool.database.plans import Plan
from pool.database.state import State
from tests.volumes import write_volume

IMAGES = [f"v{n}" for n in range(6)]
CONF = {
    "preset": "paper",
    "encoder": "csal3d",
    "projection": "pca",
    "strategies": "auto,urds,cscs",
    "cold_start_budget": 3,
    "window": "[16, 16, 16]",
    "channels": "[4, 8]",
    "pretrain_feature_size": 8,
    "pretrain_window": 2,
    "pretrain_checkpoint_every": 1,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pretraining")
    (folder / "studies").mkdir()
    for n, image in enumerate(IMAGES):
        write_volume(folder / "studies" / f"{image}.nii.gz", n, (32, 30, 20))
    conf = {**CONF, "state": folder / "state"}
    with running("volumes", folder / "studies", conf, folder / "server.log") as started:
        yield started


def until(found: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Wait until `found` returns something true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.2)
    pytest.fail(f"no {what} within {seconds:g} s")


def test_pretraining_from_the_client_to_the_first_pick(server: Server, tmp_path: Path) -> None:
    client = MONAILabelClient(server.url, tmpdir=str(tmp_path))
    folder = server.log.parent / "state"
    checkpoint, published = folder / "pretraining" / "checkpoint.pt", folder / "pretrained.pt"

    def stats() -> dict[str, Any]:
        return client.info()["train_stats"]["pretraining"]

    block = client.next_sample("auto", {})["selection"]
    assert block["provisional"] and "start the training `pretraining`" in block["reason"]
    assert client.info()["trainers"]["pretraining"]["config"]["iterations"] == 2000
    refused = requests.post(f"{server.url}/train/segmentation", json={}, timeout=30)
    assert refused.status_code == 409, "nothing is labelled; pretraining needs no label"

    client.train_start("pretraining", {"iterations": 12, "device": "cpu"})
    until(lambda: stats().get("epoch", 0) >= 2 and checkpoint.exists(), "progress")
    client.train_stop()
    assert not published.exists()
    before = torch.load(checkpoint, weights_only=True)["iteration"]
    assert 1 <= before < 12

    client.train_start("pretraining", {"iterations": 12, "device": "cpu"})
    until(published.exists, "pretrained network")
    assert f"Resuming at iteration {before} of 12" in server.log.read_text()
    assert stats()["epoch"] == 12 and not checkpoint.exists()

    selection = until(lambda: _planned(client), "plan")
    key = selection["encoder"]
    assert key.startswith("csal3d|") and selection["encoder_note"] is None
    state = State(folder)
    assert sorted(state.scores.entropies(key)) == sorted(state.embeddings.fingerprints(key)) == IMAGES
    assert state.embeddings.vectors(key, IMAGES).shape == (6, 128)
    assert client.next_sample("auto", {})["selection"]["role"] == "medoid"
    assert state.trainings.labels_of_last() is None, "a pretraining is no round"

    plan = until(lambda: _plan_of(state, "urds"), "plan of urds")
    block = client.next_sample("urds", {})["selection"]
    assert block["method"] == "urds" and len(plan.picks) == 3
    assert block["uncertainty"] in state.scores.entropies(key).values() and "typicality" in block["reason"]


def _plan_of(state: State, method: str) -> Plan | None:
    """Wait for the plan of a method in the ledger, and return it."""
    keys = [entry["details"]["key"] for entry in state.ledger.entries() if entry["event"] == "plan"]
    found = [key for key in keys if key.startswith(f"{method}|")]
    return state.plans.newest(found[-1]) if found else None


def _planned(client: MONAILabelClient) -> dict[str, Any] | None:
    selection = client.info()["selection"]
    return selection if selection["stage"] == "cold_start" else None
