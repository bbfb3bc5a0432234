"""Bundles without a server: MONAI's verification, and `monai.bundle run` against the server's own tasks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import fire
import monai
import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import verify_metadata, verify_net_in_out
from monai.transforms import Compose
from PIL import Image
from typer.testing import CliRunner

from benchmarks.phantoms.generate import generate
from bundle_configs import Bundle
from bundle_configs.export import ROOT, ExportError, export, read_model
from infers.segmentation.task import Predictor, SegmentationInfer
from pool.datastore import PoolDatastore
from pool.imaging.pairs import find, pairs
from server.cli.new_app import existing
from tests.forked import run
from trainers.segmentation.task import SegmentationTrain

FLAT: dict[str, Any] = {"image_size": 32, "channels": [4, 8], "epochs": 2}
DEEP: dict[str, Any] = {"window": [16, 16, 16], "channels": [4, 8], "epochs": 2}
SEED = 7
# several runs in one process, as `python -m monai.bundle run` makes each
_RUNS = """
import json, sys
from monai.bundle import run
for options in json.loads(sys.argv[1]):
    run(**options)
"""
_TENSOR = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")
# what MONAI's bundle specification asks of metadata.json; `verify_metadata` would download it in full
_SCHEMA = {
    "type": "object",
    "required": [
        *("schema", "version", "monai_version", "pytorch_version", "numpy_version"),
        *("required_packages_version", "task", "description", "authors", "copyright", "network_data_format"),
    ],
    "properties": {
        **{key: {"type": "string"} for key in ("schema", "version", "task", "description", "copyright")},
        **{key: {"type": "object"} for key in ("changelog", "required_packages_version")},
        "network_data_format": {
            "required": ["inputs", "outputs"],
            "additionalProperties": {
                "additionalProperties": {
                    "required": list(_TENSOR),
                    "properties": {"num_channels": {"type": "integer"}, "spatial_shape": {"type": "array"}},
                }
            },
        },
    },
}


def configs(name: str, *files: str) -> list[str]:
    return [str(ROOT / "bundle_configs" / name / "configs" / file) for file in files]


@pytest.mark.parametrize("name", existing())
def test_monai_verifies_each_bundle(name: str, tmp_path: Path) -> None:
    (meta,), config = configs(name, "metadata.json"), configs(name, "train.yaml")
    (tmp_path / "schema.json").write_text(json.dumps(_SCHEMA))
    verify_metadata(meta_file=meta, filepath=tmp_path / "schema.json")
    verify_net_in_out(net_id="network_def", meta_file=meta, config_file=config, device="cpu")
    incomplete = json.loads(Path(meta).read_text())
    del incomplete["task"]
    (tmp_path / "metadata.json").write_text(json.dumps(incomplete))
    with pytest.raises(ValueError, match="task"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=tmp_path / "schema.json")


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return {app: folder with studies, labels, and state/model.pt as published by the train task}."""
    flat, deep = tmp_path_factory.mktemp("flat"), tmp_path_factory.mktemp("deep")
    generate(flat, count=4, seed=1, size=64)
    rng = np.random.default_rng(0)
    for part in ("studies", "labels"):
        (deep / part).mkdir()
    affine = np.diag([-1.0, 2.0, 1.5, 1.0])  # turned against the network's axes
    for name in "ab":
        label = np.zeros((24, 20, 18), np.uint8)
        label[4:12, 3:15, 4:12], label[13:20, 3:15, 4:12] = 1, 2
        image = (label * 50 + rng.normal(0, 9, label.shape)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, affine), deep / "studies" / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, affine), deep / "labels" / f"{name}.nii.gz")
    for folder, bundle in ((flat, Bundle("cxr_lungs", FLAT)), (deep, Bundle("volumes", DEEP))):
        serve_training(folder, bundle)
    return {"cxr_lungs": flat, "volumes": deep}


def serve_training(folder: Path, bundle: Bundle) -> None:
    """Train as a server does when all images have a final label."""
    store = PoolDatastore(str(folder / "studies"), bundle.get("labels"))
    for pair in pairs(str(folder / "studies"), str(folder / "labels")):
        store.save_label(Path(pair["image"]).name.split(".")[0], pair["label"], "final", {})
    store.close()
    (folder / "state").mkdir()
    request = {"model": "segmentation", "run_id": "run", "device": "cpu"}
    SegmentationTrain(folder / "state", bundle, SEED)(request, store)


@pytest.fixture(scope="module")
def ran(pools: dict[str, Path]) -> dict[str, Path]:
    """Train to bundle.pt and predict into predictions with each bundle, without a server."""
    runs = []
    for name, values in (("cxr_lungs", FLAT), ("volumes", DEEP)):
        folder = pools[name]
        options = values | {"device": "cpu", "images": f"{folder}/studies", "masks": f"{folder}/labels"}
        train = {"config_file": configs(name, "train.yaml"), "checkpoint": f"{folder}/bundle.pt"}
        infer = {
            "config_file": configs(name, "train.yaml", "inference.yaml"),
            "output": f"{folder}/predictions",
        }
        runs += [options | train | {"seed": SEED}]
        trained = {"checkpoint": f"{folder}/state/model.pt"}
        runs += [options | infer | trained]
        runs += [options | trained | {"config_file": configs(name, "train.yaml", "evaluate.yaml")}]
    said = run("-c", _RUNS, json.dumps(runs), env=env_with(ROOT)).stdout
    for folder, dice in zip(pools.values(), re.findall(r"Metrics -- dice: ([\d.]+)", said), strict=True):
        (folder / "dice.txt").write_text(dice)
    return pools


def env_with(*path: Path) -> dict[str, str]:
    """Return the variables of a process that finds packages in `path`, with as many threads as this one."""
    return {"PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": str(torch.get_num_threads())}


@pytest.mark.parametrize("name", ["cxr_lungs", "volumes"])
def test_bundle_trains_the_weights_of_the_server(name: str, ran: dict[str, Path]) -> None:
    server, details = read_model(ran[name] / "state" / "model.pt")
    own = torch.load(ran[name] / "bundle.pt", weights_only=True)
    assert details["seed"] == SEED and set(own) == set(server)
    assert all(torch.equal(value, own[key]) for key, value in server.items())
    start = Bundle(name, details["overrides"]).new("network_def").state_dict()
    assert not all(torch.equal(value, own[key]) for key, value in start.items()), "nothing was learned"


@pytest.mark.parametrize("name", ["cxr_lungs", "volumes"])
def test_bundle_predicts_as_the_server_does(name: str, ran: dict[str, Path]) -> None:
    model = ran[name] / "state" / "model.pt"
    task = SegmentationInfer(model, Bundle(name, read_model(model)[1]["overrides"]))
    for found in find(str(ran[name] / "studies")):
        request = {"model": "segmentation", "image": found["image"], "result_extension": ".nii.gz"}
        expected, _ = task(request | {"device": "cpu"})
        own = ran[name] / "predictions" / (Path(found["image"]).name.split(".")[0] + ".nii.gz")
        ours, theirs = nibabel.load(own), nibabel.load(expected)
        np.testing.assert_array_equal(ours.get_fdata(), theirs.get_fdata())
        np.testing.assert_allclose(ours.affine, theirs.affine)
        Path(expected).unlink()


def test_bundle_measures_dice_at_the_networks_size(ran: dict[str, Path]) -> None:
    """Compare with Dice computed here from label and prediction, for each class of each radiograph."""
    folder, values = ran["cxr_lungs"], []
    predictor = Predictor(folder / "state" / "model.pt")
    read = Compose(Bundle("cxr_lungs", FLAT).new("label_transforms"))
    for pair in pairs(str(folder / "studies"), str(folder / "labels")):
        predicted, label = predictor(pair["image"]).argmax(dim=0), read(dict(pair))["label"][0]
        for value in (1, 2):
            one, two = predicted == value, torch.as_tensor(label) == value
            values.append(float(2 * (one & two).sum() / (one.sum() + two.sum())))
    assert float((folder / "dice.txt").read_text()) == pytest.approx(np.mean(values), abs=1e-4)


def test_exported_bundle_runs_without_this_project(ran: dict[str, Path], tmp_path: Path) -> None:
    folder = ran["cxr_lungs"]
    export(folder / "state" / "model.pt", tmp_path / "lungs.zip")
    with zipfile.ZipFile(tmp_path / "lungs.zip") as archive:
        archive.extractall(tmp_path)
        assert not [n for n in archive.namelist() if b"phantom_" in archive.read(n)], "names of images"
    bundle = tmp_path / "cxr_lungs"
    # -S: without the site's .pth files, which are how an editable install is found
    path = [bundle, *{Path(module.__file__ or "").parents[1] for module in (monai, fire)}]
    command = [sys.executable, "-S", "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--checkpoint", "models/model.pt", "--device", "cpu", "--output", str(tmp_path / "out")]
    command += ["--images", str(folder / "studies")]
    env = os.environ | env_with(*path)
    said = subprocess.run(command, capture_output=True, text=True, env=env, cwd=bundle)
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr[-3000:]
    for file in sorted((folder / "predictions").iterdir()):
        np.testing.assert_array_equal(
            nibabel.load(tmp_path / "out" / file.name).get_fdata(), nibabel.load(file).get_fdata()
        )
    network = monai.bundle.load("cxr_lungs", bundle_dir=tmp_path, device="cpu")
    server, _ = read_model(folder / "state" / "model.pt")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in server.items())


def test_exported_metadata_is_that_of_the_model(ran: dict[str, Path], tmp_path: Path) -> None:
    export(ran["volumes"] / "state" / "model.pt", tmp_path / "v.zip")
    with zipfile.ZipFile(tmp_path / "v.zip") as archive:
        archive.extractall(tmp_path)
    meta, config = (str(tmp_path / "volumes" / "configs" / file) for file in ("metadata.json", "train.json"))
    assert (
        json.loads(Path(meta).read_text())["network_data_format"]["inputs"]["image"]["spatial_shape"]
        == [16] * 3
    )
    verify_net_in_out(net_id="network_def", meta_file=meta, config_file=config, device="cpu")


def test_what_is_no_published_model_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "damaged.pt").write_bytes(b"no model")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    for name, message in (
        ("damaged", "cannot be read as a model"),
        ("other", "not the model.pt of a server"),
    ):
        with pytest.raises(ExportError, match=message):
            export(tmp_path / f"{name}.pt", tmp_path / "out.zip")
    assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*"))


def test_export_does_not_overwrite(tmp_path: Path) -> None:
    import typer

    from bundle_configs.export import main

    app = typer.Typer()
    app.command()(main)
    (tmp_path / "m.pt").write_bytes(b"no model")
    (tmp_path / "out.zip").write_bytes(b"there")
    arguments = ["--model", str(tmp_path / "m.pt"), "--out"]
    assert "exists" in CliRunner().invoke(app, [*arguments, str(tmp_path / "out.zip")]).output
    assert CliRunner().invoke(app, [*arguments, str(tmp_path / "new.zip")]).exit_code == 1


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    with pytest.raises(ValueError, match="--images .*no such folder"):
        find("")
    for folder in (images, masks):
        folder.mkdir()
    with pytest.raises(ValueError, match="has no images"):
        find(str(images))
    for name in ("b", "a"):
        Image.fromarray(np.eye(20, dtype=np.uint8)).save(images / f"{name}.png")
    with pytest.raises(ValueError, match="has no label with the name of an image"):
        pairs(str(images), str(masks))
    Image.fromarray(np.eye(20, dtype=np.uint8)).save(masks / "a.png")
    assert [Path(p["image"]).name for p in find(str(images))] == ["a.png", "b.png"]
    assert pairs(str(images), str(masks)) == [{"image": str(images / "a.png"), "label": str(masks / "a.png")}]
    (masks / "a.nrrd").write_bytes(b"another")
    with pytest.raises(ValueError, match="labels of one image"):
        pairs(str(images), str(masks))
