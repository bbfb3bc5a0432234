"""Several images of one patient, and copies, through a real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import requests
import torch
from PIL import Image

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server


def test_copies_are_named_and_never_handed_out_and_validation_keeps_patients_whole(
    phantoms: Path, start: Callable[..., Server], tmp_path: Path
) -> None:
    studies, labels = tmp_path / "studies", tmp_path / "labels"
    studies.mkdir()
    labels.mkdir()
    for n, path in enumerate(sorted((phantoms / "studies").iterdir())[:8]):
        name = f"p{n // 2}_{n}.png"  # two images of each patient
        shutil.copy(path, studies / name)
        shutil.copy(phantoms / "labels" / path.name, labels / name)
    shutil.copy(studies / "p0_0.png", studies / "p9_again.png")
    Image.open(studies / "p3_7.png").resize((64, 64)).save(studies / "p3_small.jpg", quality=85)
    server = start(studies, tmp_path / "state", groups=r"^(p\d)_", epochs=1)
    annotator = Annotator(server.url, labels)
    annotator.wait_ready(rounds=0)
    said = requests.get(f"{server.url}/selection/status", timeout=30).json()
    assert said["duplicates"] == [["p0_0", "p9_again"], ["p3_7", "p3_small"]]
    info = annotator.client.info()["selection"]
    assert (info["duplicate_sets"], info["left_out"], info["unlabelled"]) == (2, 2, 8)
    assert "p9_again looks like a copy of p0_0" in server.log.read_text(), "another patient's"
    given = [annotator.label_next("auto")["id"] for _ in range(8)]
    assert sorted(given) == sorted(path.stem for path in labels.iterdir())
    assert annotator.client.next_sample("auto", {}) == {} and annotator.status()["stage"] == "done"

    annotator.client.train_start("segmentation", {"max_epochs": 1, "val_split": 0.5})
    annotator.wait_ready(rounds=1)
    details = torch.load(tmp_path / "state" / "model.pt", weights_only=True)["details"]
    assert sorted(details["images"] + details["validated"]) == sorted(given)
    assert len(details["validated"]) == 4
    assert not {i[:2] for i in details["images"]} & {i[:2] for i in details["validated"]}
    assert {"train_mean_dice", "val_mean_dice"} <= details["metrics"].keys()
