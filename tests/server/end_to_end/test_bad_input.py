"""Bad images and bad starts are refused by name, and everything else goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from PIL import Image

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server

Start = Callable[..., Server]


def asked(server: Server, strategy: str) -> dict[str, Any]:
    """Return the next sample of an unnamed client."""
    answer = requests.post(f"{server.url}/activelearning/{strategy}", json={}, timeout=30)
    answer.raise_for_status()
    return dict(answer.json())


def test_a_pool_with_bad_images_goes_on_without_them(phantoms: Path, start: Start, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    shutil.copytree(phantoms / "studies", studies)
    good = {path.stem for path in studies.iterdir()}
    (studies / "corrupt.png").write_bytes(b"no picture")
    (studies / "empty.png").write_bytes(b"")
    (studies / "notes.txt").write_text("no image")
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(studies / "dot.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(studies / "black.png")
    deep = np.asarray(Image.open(studies / "phantom_000.png"))[::-1].astype(np.uint16) * 200
    Image.fromarray(deep).save(studies / "deep.png")
    server = start(studies, tmp_path / "state")
    annotator = Annotator(server.url, phantoms / "labels")
    annotator.wait_ready(rounds=0)
    status = annotator.status()
    assert set(status["failures"]) == {"corrupt", "empty", "dot", "black"}
    assert all(name in reason for name, reason in status["failures"].items())
    assert (status["images"], status["unlabelled"], status["failed"]) == (21, 17, 4)
    handed = {asked(server, "random")["id"] for _ in range(17)}
    assert handed == good | {"deep"}
    shutil.copy(studies / "phantom_001.png", studies / "corrupt.png")  # repaired
    _until(lambda: "corrupt" not in annotator.status()["failures"])
    answer = requests.post(f"{server.url}/infer/segmentation?image=black", timeout=30)
    assert answer.status_code == 409 and "no trained model yet" in answer.json()["detail"]


def test_an_empty_folder_says_what_to_put_there_and_notices_it(
    phantoms: Path, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "studies").mkdir()
    server = start(tmp_path / "studies", tmp_path / "state")
    answer = requests.post(f"{server.url}/activelearning/auto", json={}, timeout=30)
    assert answer.status_code == 409 and "studies folder has no images" in answer.json()["detail"]
    for image in sorted((phantoms / "studies").iterdir())[:3]:
        shutil.copy(image, tmp_path / "studies")
    annotator = Annotator(server.url, phantoms / "labels")
    _until(lambda: annotator.status()["stage"] == "cold_start" and annotator.status()["images"] == 3)
    assert {asked(server, "auto")["id"] for _ in range(3)} == {
        "phantom_000",
        "phantom_001",
        "phantom_002",
    }


def _until(true: Callable[[], Any], seconds: float = 120) -> None:
    import time

    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.5)


@pytest.mark.parametrize(
    "conf, says",
    [
        ({"alhpa": 0.5}, ["alhpa", "did you mean alpha?", "python -m server.config cxr_lungs"]),
        ({"alpha": 2}, ["--conf alpha 2", "from 0"]),
        ({"encoder": "resnet"}, ["resnet", "descriptor, radimagenet, transformers:<folder>"]),
        ({"encoder": "radimagenet"}, ["encoder_weights"]),
        ({"encoder": "radimagenet", "encoder_weights": "WRONG"}, ["wrong.pt", "expected"]),
    ],
)
def test_a_wrong_configuration_stops_the_start(
    start: Start, tmp_path: Path, conf: dict[str, Any], says: list[str]
) -> None:
    torch.save({"some.weight": torch.zeros(3)}, tmp_path / "wrong.pt")
    conf = {key: str(tmp_path / "wrong.pt") if value == "WRONG" else value for key, value in conf.items()}
    (tmp_path / "studies").mkdir()
    server = start(tmp_path / "studies", tmp_path / "state", wait=False, **conf)
    with pytest.raises(RuntimeError, match="did not start"):
        server.wait()
    log = server.log.read_text()
    assert all(text in log for text in says)
    assert not (tmp_path / "state").exists()
