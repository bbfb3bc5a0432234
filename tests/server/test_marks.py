"""Marks and held-out images of a real server: drawn, labelled, measured on, never trained on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server
from infers.segmentation.task import model_details
from pool.database.state import State
from tests.server.polling import until


def put(server: Server, kind: str, *images: str, **more: Any) -> requests.Response:
    body = {"kind": kind, "images": images, **more}
    return requests.post(f"{server.url}/selection/marks", json=body, timeout=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def server(start: Callable[..., Server], phantoms: Path, folder: Path) -> Server:
    shutil.copytree(phantoms / "studies", folder / "studies")
    return start(folder / "studies", folder, validation_budget=3, prepared=True)


def test_images_are_held_out_labelled_and_measured_on_but_never_trained_on(
    server: Server, phantoms: Path, folder: Path
) -> None:
    annotator = Annotator(server.url, phantoms / "labels")
    annotator.wait_ready(rounds=0)
    assert annotator.status()["validation"] == {"labelled": 0, "held_out": 3, "budget": 3}
    roles = [annotator.label_next("auto")["selection"]["role"] for _ in range(7)]
    assert "validation" not in roles[:4] and roles[4:] == ["validation"] * 3
    assert annotator.status()["validation"]["labelled"] == 3
    annotator.train(epochs=None)
    annotator.wait_ready(rounds=1)
    state = State(folder)
    (model,) = state.models.all()
    held = state.marks.held_out()
    assert len(model.labelled) == 4 and not held & set(model.labelled)
    assert set(state.validations.of(model.fingerprint)) == held
    assert not held & set(model_details(state.folder / "model.pt")["images"])
    for scores in state.validations.of(model.fingerprint).values():
        assert len(scores["dice"]) == 2 and all(0 <= value <= 1 for value in scores["dice"])
    image = min(held)
    annotator.send(image)  # corrected: measured again
    end = time.monotonic() + 60
    while image not in state.validations.of(model.fingerprint):
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_bad_label_of_a_held_out_image_is_named_and_not_measured_on(
    server: Server, phantoms: Path, folder: Path
) -> None:
    """It is found in the folder, and the models of later trainings are measured on the others."""
    annotator, state = Annotator(server.url, phantoms / "labels"), State(folder)
    bad, *others = sorted(state.marks.held_out())
    final = folder / "studies" / "labels" / "final"
    good = (final / f"{bad}.png").read_bytes()
    (final / f"{bad}.png").write_bytes(good[: len(good) // 2])
    refused = until(lambda: annotator.status()["label_failures"].get(bad))
    assert refused["file"] == f"{bad}.png" and bad in refused["reason"]
    assert annotator.status()["validation"]["labelled"] == 2
    annotator.train(epochs=None)
    annotator.wait_ready(rounds=2)
    measured = state.validations.of(state.models.all()[0].fingerprint)
    assert {image for image, scores in measured.items() if scores} == set(others)
    (final / f"{bad}.png").write_bytes(good)
    until(lambda: bad in state.validations.of(state.models.all()[0].fingerprint))


def test_a_lead_marks_and_takes_back(server: Server, phantoms: Path) -> None:
    annotator = Annotator(server.url, phantoms / "labels")
    objects = annotator.client.datastore()["objects"]
    images = sorted(image for image, found in objects.items() if not found["labels"])[-2:]
    assert put(server, "next", *images, reason="rare").json() == {"changed": 2}
    given = annotator.ask("auto")
    assert given["id"] == images[0] and given["selection"]["reason"] == "lead marked it to come next (rare)."
    refused = put(server, "skip", *images)
    assert refused.status_code == 409 and "simulated annotator" in refused.json()["detail"]
    assert put(server, "skip", images[1], reason="twice").json() == {"changed": 1}
    assert put(server, "none", *images).json() == {"changed": 2}
    assert requests.get(f"{server.url}/selection/handouts", timeout=30).json()["skipped"] == {}


def test_a_request_that_cannot_be_meant_changes_nothing(server: Server) -> None:
    before = requests.get(f"{server.url}/selection/ledger", timeout=30).json()
    assert put(server, "next", "phantom_000", "nobody").status_code == 404
    assert put(server, "favourite", "phantom_000").status_code == 422
    assert put(server, "next").status_code == 422
    assert requests.get(f"{server.url}/selection/ledger", timeout=30).json() == before


def test_the_newest_decision_counts(server: Server, phantoms: Path) -> None:
    annotator = Annotator(server.url, phantoms / "labels", "somebody")
    objects = annotator.client.datastore()["objects"]
    image = max(image for image, found in objects.items() if not found["labels"])
    assert put(server, "skip", image, reason="blurred").json() == {"changed": 1}
    assert put(server, "next", image).json() == {"changed": 1}
    given = annotator.ask("auto")
    assert given["id"] == image and given["selection"]["role"] == "marked"
