"""The instant model: predictions, plans and pre-labels from the first label on, through a real server."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from monailabel.client import MONAILabelClient
from PIL import Image

from benchmarks.server_process import Server
from tests.server.polling import status, until

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def studies(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("instant") / "studies"
    shutil.copytree(phantoms / "studies", folder)
    return folder


@pytest.fixture(scope="module")
def server(studies: Path, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Server:
    conf = {"instant": True, "cold_start_method": "foreground_cover", "cold_start_budget": 6}
    server = start(studies, tmp_path_factory.mktemp("state"), prepared=True, **conf)
    until(lambda: status(server)["stage"] == "cold_start")
    return server


@pytest.fixture
def client(server: Server, tmp_path: Path) -> MONAILabelClient:
    return MONAILabelClient(server.url, tmpdir=str(tmp_path), client_id="ann")


def next_sample(server: Server, who: str = "ann") -> dict[str, Any]:
    answer = requests.post(f"{server.url}/activelearning/auto", json={"client_id": who}, timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def label(server: Server, phantoms: Path, image: str) -> None:
    with open(phantoms / "labels" / f"{image}.png", "rb") as file:
        answer = requests.put(
            f"{server.url}/datastore/label", params={"image": image}, files={"label": file}, timeout=60
        )
    assert answer.status_code == 200, answer.text


def ledger(server: Server, event: str) -> list[dict[str, Any]]:
    entries = requests.get(f"{server.url}/selection/ledger", timeout=60).json()
    return [entry for entry in entries if entry["event"] == event]


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(
        np.mean(
            [2 * ((one == v) & (other == v)).sum() / ((one == v).sum() + (other == v).sum()) for v in (1, 2)]
        )
    )


def test_before_the_first_label_it_says_what_to_do(server: Server, client: MONAILabelClient) -> None:
    assert "instant" not in client.info()["models"]
    answer = requests.post(f"{server.url}/infer/instant", params={"image": "phantom_000"}, timeout=60)
    assert answer.status_code == 409 and "save the first final label" in answer.json()["detail"]


def test_the_first_label_brings_a_model_a_plan_and_predictions(
    server: Server, client: MONAILabelClient, studies: Path, phantoms: Path
) -> None:
    first = next_sample(server)["id"]
    label(server, phantoms, first)
    (head,) = until(lambda: ledger(server, "head"))
    assert head["details"]["facts"]["labels"] == {"right lung": 1, "left lung": 1}
    assert "instant" in client.info()["models"]
    planned = until(lambda: (now := next_sample(server, "ben")) and now["selection"].get("head") == 1 and now)
    assert "unlike the 1 labelled" in planned["selection"]["reason"]
    originals = studies / "labels" / "original"
    until(lambda: len(list(originals.glob("*.png"))) >= 3)
    assert status(server)["labelled"] == 1, "predictions do not count"
    assert [entry["image"] for entry in ledger(server, "label")] == [first], "nor are they anybody's"
    other = next(i for i in sorted(p.stem for p in (phantoms / "studies").glob("*.png")) if i != first)
    file, said = client.infer("instant", other, {})
    truth = np.asarray(Image.open(phantoms / "labels" / f"{other}.png"))
    assert said["label_names"] == {"right lung": 1, "left lung": 2}
    assert dice(np.asarray(Image.open(file)), truth) > 0.6


def test_it_gets_better_with_labels_and_measures_itself(server: Server, phantoms: Path) -> None:
    for _ in range(4):
        label(server, phantoms, next_sample(server)["id"])
    heads = until(lambda: (h := ledger(server, "head")) and h[-1]["details"]["n_labels"] == 5 and h)
    assert heads[-1]["details"]["facts"]["dice"] > 0.8
    assert len({head["details"]["fingerprint"] for head in heads}) == len(heads)


def test_the_uncertainty_is_a_picture_with_a_legend(server: Server, phantoms: Path) -> None:
    image = next_sample(server)["id"]
    own = Image.open(phantoms / "studies" / f"{image}.png")
    sizes = {}
    for legend in (True, False):
        at = {"image": image, "legend": legend}
        answer = requests.get(f"{server.url}/selection/uncertainty", params=at, timeout=60)
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/png", answer.text
        sizes[legend] = Image.open(io.BytesIO(answer.content)).size
    assert sizes[False] == own.size and sizes[True][0] > own.width
    at = {"image": image, "slice": 3}
    refused = requests.get(f"{server.url}/selection/uncertainty", params=at, timeout=60)
    assert refused.status_code == 422 and "no slices" in refused.json()["detail"]


def test_a_killed_worker_loses_no_label_and_the_next_plan_comes(server: Server, phantoms: Path) -> None:
    image = next_sample(server)["id"]
    for process in psutil.Process(server.process.pid).children(recursive=True):
        process.kill()
    label(server, phantoms, image)
    until(lambda: ledger(server, "head")[-1]["details"]["n_labels"] == 6)
    assert status(server)["labelled"] == 6
