"""Two real servers of one pool, with images and labels on a DICOM server and state in PostgreSQL."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server
from tests import postgres
from tests.orthanc import Orthanc, radiograph

Pair = tuple[Annotator, Annotator]
IMAGES = 8


@pytest.fixture(scope="module")
def orthanc(
    make_orthanc: Callable[[], Orthanc], phantoms: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Orthanc, Path]:
    """Radiographs on a DICOM server, and the folder of their true masks."""
    server, labels = make_orthanc(), tmp_path_factory.mktemp("labels")
    for path in sorted((phantoms / "studies").iterdir())[:IMAGES]:
        (series,) = server.add(radiograph(path.stem, np.asarray(Image.open(path))))
        shutil.copy(phantoms / "labels" / path.name, labels / f"{series}.png")
    return server, labels


@pytest.fixture(scope="module")
def pair(
    orthanc: tuple[Orthanc, Path],
    postgresql: postgres.Cluster,
    start: Callable[..., Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    """An annotator at each of two servers."""
    (dicom, labels), folder = orthanc, tmp_path_factory.mktemp("pair")
    conf = {"database": postgresql.new_database(), "cold_start_budget": IMAGES, "max_open": 2}
    servers = [
        start(
            dicom.url,
            folder / "state",
            wait=False,
            env={"MONAI_LABEL_DICOMWEB_CACHE_PATH": str(folder / f"cache of {name}")},
            **conf,
        )
        for name in ("Ada", "Ben")
    ]
    for server in servers:
        server.wait()
    ada, ben = (
        Annotator(server.url, labels, name) for server, name in zip(servers, ("Ada", "Ben"), strict=True)
    )
    ada.wait_ready(rounds=0)
    ben.wait_ready(rounds=0)
    return ada, ben


def test_no_image_is_given_out_by_both_and_every_label_is_kept(
    pair: Pair, orthanc: tuple[Orthanc, Path]
) -> None:
    given: list[str] = []
    for turn in range(IMAGES // 2 - 1):  # both hold one at a time
        asked = [annotator.ask("auto") for annotator in pair]
        given += [answer["id"] for answer in asked]
        assert all(answer["selection"]["again"] is None for answer in asked), turn
        for annotator, answer in zip(pair, asked, strict=True):
            annotator.send(answer["id"])
    assert len(set(given)) == len(given) == IMAGES - 2
    assert len(orthanc[0].find("SEG")) == len(given)


def test_what_one_server_gave_the_other_knows(pair: Pair) -> None:
    ada, ben = pair
    mine = ada.ask("auto")["id"]
    for server in (ada.url, ben.url):
        handouts = requests.get(f"{server}/selection/handouts", timeout=30).json()["open"]
        assert [(row["image"], row["client"]) for row in handouts] == [(mine, "Ada")]
    theirs = ben.ask("auto")["id"]
    assert theirs != mine
    taken = requests.post(
        f"{ben.url}/activelearning/auto", json={"client_id": "Ben", "release": mine}, timeout=30
    )
    assert taken.status_code == 409 and "Ada" in taken.json()["detail"]


def test_labels_saved_through_the_other_server_are_noticed(pair: Pair) -> None:
    ada, ben = pair
    end = time.monotonic() + 120
    while {annotator.status()["labelled"] for annotator in pair} != {IMAGES - 2}:
        assert time.monotonic() < end, [annotator.status() for annotator in pair]
        time.sleep(1)
    for annotator in pair:  # each labels what it holds, through the server of the other
        answer = annotator.ask("auto")
        other = ben if annotator is ada else ada
        other.send(answer["id"])
    assert ada.client.next_sample("auto", {}) == ben.client.next_sample("auto", {}) == {}
