"""The app for volumes over HTTP, with MONAI Label's own client: a Decathlon task folder, and real volumes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server, running

TINY = {"epochs": 2, "channels": "[4,8]", "window": "[16,16,8]", "cold_start_budget": 3, "batch_size": 2}
AFFINE = np.array([[-0.8, 0, 0, 9], [0, -0.8, 0, 9], [0, 0, 4, -9], [0, 0, 0, 1.0]])  # thick slices
Run = dict[str, Any]


def write_task(folder: Path, count: int) -> None:
    """Write a Decathlon task of two MR sequences, of several sizes, some thinner than the window."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    chance = np.random.default_rng(5)
    for i in range(count):
        shape = tuple(int(n) for n in chance.integers((18, 16, 5), (30, 26, 14)))
        label = np.zeros(shape, np.uint8)
        w, h, d = shape
        left = int(chance.integers(2, w // 3))
        label[left : left + w // 3, h // 4 : 3 * h // 4, 1 : d - 1] = 1
        label[left + w // 3 : left + w // 2, h // 4 : 3 * h // 4, 1 : d - 1] = 2
        noise = chance.normal(0, 20, (*shape, 2))
        voxels = np.stack([label * 90.0, (label > 0) * 150.0], axis=-1) + noise
        nibabel.save(
            nibabel.Nifti1Image(voxels.astype(np.float32), AFFINE),
            folder / "imagesTr" / f"case_{i:02}.nii.gz",
        )
        nibabel.save(nibabel.Nifti1Image(label, AFFINE), folder / "labelsTr" / f"case_{i:02}.nii.gz")
    task = {
        "modality": {"0": "FLAIR", "1": "T1w"},
        "labels": {"0": "background", "1": "oedema", "2": "tumour"},
        "numTraining": count,
    }
    (folder / "dataset.json").write_text(json.dumps(task))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One task through cold start, training and an active pick, with the answer of every step."""
    folder = tmp_path_factory.mktemp("volumes")
    write_task(folder / "task", 9)
    flat = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(flat, np.eye(4)), folder / "task" / "imagesTr" / "flat.nii.gz")
    conf = TINY | {"preset": "paper", "state": folder / "state", "spacing": "[1.0,1.0,2.0]"}
    with running("volumes", folder / "task" / "imagesTr", conf, folder / "server.log") as server:
        annotator = Annotator(server.url, folder / "task" / "labelsTr")
        answers: Run = {"server": server, "annotator": annotator, "task": folder / "task"}
        annotator.wait_ready(rounds=0)
        answers["cold"] = [annotator.label_next("auto") for _ in range(3)]
        annotator.train(None)
        annotator.wait_ready(rounds=1)
        answers["info"] = annotator.client.info()
        answers["active"] = annotator.label_next("auto")
        yield answers


def test_dataset_json_says_what_there_is(run: Run) -> None:
    info = run["info"]
    assert info["labels"] == ["oedema", "tumour"]
    assert info["models"]["segmentation"]["labels"] == {"oedema": 1, "tumour": 2}
    assert info["models"]["segmentation"]["dimension"] == 3
    said = info["selection"]
    assert said["encoder"].startswith("descriptor:1|slices:") and said["encoder"].endswith("|mr")
    assert (said["stage"], said["round"], said["failed"], said["images"]) == ("active", 1, 1, 10)


def test_cold_start_and_active_picks_have_reasons(run: Run) -> None:
    blocks = [answer["selection"] for answer in run["cold"]]
    assert [block["stage"] for block in blocks] == ["cold_start"] * 3 and blocks[0]["role"] == "medoid"
    active = run["active"]["selection"]
    assert (active["stage"], active["role"]) == ("active", "most_uncertain") and active["entropy"] > 0


def test_prediction_is_on_the_volumes_own_grid(run: Run) -> None:
    image = run["active"]["id"]
    source = nibabel.nifti1.load(run["task"] / "imagesTr" / f"{image}.nii.gz")
    for ext in (".nii.gz", ".nrrd"):
        path, _ = run["annotator"].client.infer("segmentation", image, {"result_extension": ext})
        if ext == ".nii.gz":
            found = nibabel.nifti1.load(path)
            assert found.shape == source.shape[:3]
            np.testing.assert_allclose(found.affine, AFFINE, atol=1e-5)
        run["annotator"].client.save_label(image, str(path), "original")


def test_evaluation_is_in_millimetres_on_the_own_grid(run: Run) -> None:
    image = run["task"] / "imagesTr" / "case_00.nii.gz"
    ((name, scores),) = run["annotator"].evaluate([image])
    assert name == "case_00" and len(scores["dice"]) == 2
    assert all(0 <= d <= 1 for d in scores["dice"])


def test_label_that_does_not_fit_is_refused(run: Run, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.full((20, 20, 8), 7, np.uint8), AFFINE), tmp_path / "bad.nii.gz")
    with pytest.raises(Exception, match="422") as caught:
        run["annotator"].client.save_label("case_00", str(tmp_path / "bad.nii.gz"))
    assert "knows 0 background, 1 oedema, 2 tumour" in str(caught.value.__dict__) + str(caught.value)


def test_wrong_settings_stop_the_start(tmp_path: Path) -> None:
    write_task(tmp_path / "task", 1)
    (tmp_path / "task" / "dataset.json").write_text("{}")
    server = Server("volumes", tmp_path / "task" / "imagesTr", TINY, tmp_path / "server.log")
    with pytest.raises(RuntimeError, match="not a dataset.json of the Medical Segmentation Decathlon"):
        server.wait()
    server.stop()


def test_real_hippocampus_volumes(real_data: Path, tmp_path: Path, long: bool) -> None:
    """Take real MR volumes, smaller than the window, from the first label to an active pick.

    Seven are in the pool; four, trained on for one epoch, in the short form.
    """
    *pool, last = sorted((real_data / "hippocampus" / "images").glob("*.nii.gz"))[: 8 if long else 5]
    (tmp_path / "studies").mkdir()
    for image in pool:
        shutil.copy(image, tmp_path / "studies")
    conf = TINY | {"state": tmp_path / "state", "window": "[48,64,48]", "epochs": 2 if long else 1}
    conf["instant"] = long
    with running("volumes", tmp_path / "studies", conf, tmp_path / "server.log") as server:
        annotator = Annotator(server.url, real_data / "hippocampus" / "labels")
        annotator.wait_ready(rounds=0)
        for _ in range(3):
            annotator.label_next("auto")
        annotator.train(None)
        annotator.wait_ready(rounds=1)
        assert annotator.label_next("auto")["selection"]["stage"] == "active"
        ((_, scores),) = annotator.evaluate([last])
        assert len(scores["dice"]) == len(scores["hd95"]) == 2
