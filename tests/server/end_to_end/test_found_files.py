"""Images that are found in a studies folder, and the words on what is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from monailabel.client import MONAILabelClient
from PIL import Image

from benchmarks.server_process import Server
from tests.ct_series import write_series
from tests.server.polling import status, until

Start = Callable[..., Server]


@pytest.fixture
def studies(phantoms: Path, tmp_path: Path) -> Path:
    """A folder with images in a subfolder only."""
    folder = tmp_path / "studies"
    (folder / "patient1" / "day 2").mkdir(parents=True)
    first, second = sorted((phantoms / "studies").glob("*.png"))[:2]
    shutil.copy(first, folder / "patient1" / "a.png")
    shutil.copy(second, folder / "patient1" / "day 2" / "a.png")
    return folder


def test_a_folder_with_images_below_it_says_so(studies: Path, start: Start, tmp_path: Path) -> None:
    (studies / "notes.txt").write_text("no image")
    server = start(studies, tmp_path / "state")
    answer = requests.post(f"{server.url}/activelearning/auto", json={}, timeout=60)
    assert answer.status_code == 409
    for text in (answer.json()["detail"], status(server)["warnings"][0], server.log.read_text()):
        assert "patient1/" in text and "--conf recursive true" in text and "notes.txt" in text


def test_dicom_by_its_mark_and_subfolders_are_labelled_and_trained_on(
    phantoms: Path, studies: Path, start: Start, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 900, (64, 64, 1)).astype(np.int16)
    dicom = next(write_series(tmp_path / "series", pixels, np.eye(4)).glob("*.dcm"))
    for name in ("IM0001", "b.dicom", "patient1/c.IMA"):
        shutil.copy(dicom, studies / name)
    server = start(studies, tmp_path / "state", recursive="true", duplicates="off", max_open=10)
    images = {"IM0001", "b", "patient1/a", "patient1/c", "patient1/day 2/a"}
    until(lambda: status(server)["stage"] == "cold_start" and status(server)["map"]["images"] == 5)
    client = MONAILabelClient(server.url, tmpdir=str(tmp_path))  # the server clears its own
    assert {client.next_sample("auto", {"client_id": "me"})["id"] for _ in images} <= images
    mask = sorted((phantoms / "labels").glob("*.png"))[0]
    client.save_label("patient1/a", str(mask), params={"client_id": "me"})
    assert (studies / "labels" / "final" / "patient1" / "a.png").is_file()
    sent = requests.get(f"{server.url}/datastore/image", params={"image": "patient1/a"}, timeout=60)
    assert sent.content == (studies / "patient1" / "a.png").read_bytes()
    thumbnail = requests.get(
        f"{server.url}/selection/images/thumbnail", params={"image": "patient1/day 2/a"}, timeout=60
    )
    assert thumbnail.status_code == 200
    client.train_start("segmentation", {"max_epochs": 1})
    until(lambda: status(server)["model"])
    told = requests.get(f"{server.url}/selection/status", timeout=60).json()
    assert told["labelled"] == 1 and not told["warnings"] and not told["failures"]
    file, _ = client.infer("segmentation", "patient1/day 2/a", {})
    assert np.array(Image.open(file)).shape == (128, 128)
