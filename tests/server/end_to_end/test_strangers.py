"""A stranger's images and structures run through the whole loop by configuration alone, without code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server
from pool.imaging.labels import read_label
from server.cli.new_app import ROOT
from tests.forked import run

COUNT, BUDGET = 7, 3
TINY = {"epochs": 2, "channels": "[4,8]", "cold_start_budget": BUDGET, "batch_size": 2}
PARTS = ("apps", "bundle_configs", "server", "strategies", "infers", "trainers", "pool")


def draw(shape: tuple[int, ...], chance: np.random.Generator, structures: int) -> np.ndarray:
    """Make a label (shape) uint8 with blocks of the values 1, 2, ... side by side."""
    label = np.zeros(shape, np.uint8)
    width = shape[0] // (structures + 1)
    for value in range(1, structures + 1):
        left, top = value * width - width // 2, int(chance.integers(2, shape[1] // 3))
        label[left : left + width, top : top + shape[1] // 2] = value
    return label


def write_xrays(folder: Path) -> None:
    """Write PNG files of 224 pixels to `studies`, and labels with the values 1 to 3 to `labels`."""
    chance = np.random.default_rng(7)
    for name in ("studies", "labels"):
        (folder / name).mkdir(parents=True)
    for i in range(COUNT):
        label = draw((224, 224), chance, 3)
        image = np.clip(label * 60 + chance.normal(40, 15, label.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "studies" / f"{i} AP.png")
        Image.fromarray(label).save(folder / "labels" / f"{i} AP.png")


def write_volumes(folder: Path) -> None:
    """Write CT volumes in Hounsfield units to `studies`, labels with the values 1 and 2 to `labels`."""
    chance = np.random.default_rng(8)
    for name in ("studies", "labels"):
        (folder / name).mkdir(parents=True)
    for i in range(COUNT):
        label = draw((24, 22, 10 + i % 3), chance, 2)
        image = (label * 100 + chance.normal(0, 15, label.shape)).astype(np.int16)
        for name, voxels in (("studies", image), ("labels", label)):
            made = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.5, 1.0]))
            nibabel.save(made, folder / name / f"ct{i}.nii.gz")


def run_loop(server: Server, labels: Path, structures: dict[str, int]) -> tuple[Path, dict[str, Any]]:
    """Run next sample, label, train, infer and next; return the prediction and the last answer."""
    server.wait()
    annotator = Annotator(server.url, labels)
    annotator.wait_ready(rounds=0)
    assert annotator.client.info()["labels"] == sorted(structures, key=lambda name: structures[name])
    stages = [annotator.label_next("auto")["selection"]["stage"] for _ in range(BUDGET)]
    assert stages == ["cold_start"] * BUDGET
    annotator.train(None)
    annotator.wait_ready(rounds=1)
    answer = annotator.ask("auto")
    assert answer["selection"]["stage"] == "active"
    extension = ".png" if answer["path"].endswith(".png") else ".nii.gz"
    path, _ = annotator.client.infer("segmentation", answer["id"], {"result_extension": extension})
    kept = server.log.parent / f"prediction{extension}"
    shutil.copy(path, kept)
    annotator.send(answer["id"])
    after = annotator.ask("auto")
    assert after["id"] != answer["id"] and annotator.status()["labelled"] == BUDGET + 1
    return kept, answer


def test_xrays_with_three_structures_through_make_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    if not long:
        pytest.skip("only in the long form: test_new_app.py runs the contract of all apps on such an app")
    checkout = tmp_path / "checkout"
    for part in PARTS:
        ignore = shutil.ignore_patterns("state", "logs", "model", "__pycache__")
        shutil.copytree(ROOT / part, checkout / part, ignore=ignore)
    write_xrays(tmp_path / "set")
    env = {"PYTHONPATH": str(checkout)}
    words = ["bones", "--from", "cxr_lungs", "--labels", "left clavicle,right clavicle,Pacemaker lead"]
    run("-m", "server.cli.new_app", *words, cwd=checkout, env=env)
    monkeypatch.chdir(checkout)  # python -m looks there first
    conf = TINY | {"state": tmp_path / "state", "image_size": 64}
    app, studies = str(checkout / "apps" / "bones"), tmp_path / "set" / "studies"
    with Server(app, studies, conf, tmp_path / "server.log", env=env) as server:
        structures = {"left clavicle": 1, "right clavicle": 2, "Pacemaker lead": 3}
        prediction, answer = run_loop(server, tmp_path / "set" / "labels", structures)
    found = read_label(prediction, structures, studies / f"{answer['id']}.png")
    assert found.shape == (224, 224) and set(np.unique(found)) <= {0, 1, 2, 3}


def test_volumes_with_structures_named_on_the_command_line(tmp_path: Path) -> None:
    write_volumes(tmp_path / "set")
    structures = {"cyst": 1, "kidney": 2}
    conf = TINY | {"state": tmp_path / "state", "window": "[16,16,8]", "modality_rule": "ct"}
    conf["labels"] = json.dumps(structures)
    studies = tmp_path / "set" / "studies"
    with Server("volumes", studies, conf, tmp_path / "server.log") as server:
        prediction, answer = run_loop(server, tmp_path / "set" / "labels", structures)
    found, source = nibabel.nifti1.load(prediction), nibabel.nifti1.load(studies / f"{answer['id']}.nii.gz")
    assert found.shape == source.shape and np.allclose(found.affine, source.affine)
    assert set(np.unique(np.asarray(found.dataobj))) <= {0, 1, 2}
