"""The Decathlon preparer on a task in the published format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from benchmarks.datasets import decathlon

Command = Callable[..., Any]


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def describe(folder: Path, **changes: Any) -> None:
    """Write dataset.json as published."""
    names = ["hippocampus_367", "hippocampus_304", "hippocampus_204"]
    content = {
        "name": "Hippocampus",
        "description": "Left and right hippocampus segmentation",
        "reference": "Vanderbilt University Medical Center",
        "licence": "CC-BY-SA 4.0",
        "relase": "1.0 04/05/2018",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": 3,
        "numTest": 1,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names
        ],
        "test": ["./imagesTs/hippocampus_002.nii.gz"],
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps(content))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "Task04_Hippocampus"
    for i, name in enumerate(("hippocampus_367", "hippocampus_304", "hippocampus_204")):
        rng = np.random.default_rng(i)
        save(folder / "imagesTr" / f"{name}.nii.gz", rng.random((9, 11, 7)).astype(np.float32))
        save(folder / "labelsTr" / f"{name}.nii.gz", rng.integers(0, 3, (9, 11, 7), dtype=np.uint8))
        for kind in ("imagesTr", "labelsTr"):
            (folder / kind / f"._{name}.nii.gz").write_bytes(b"\0\5\x16\7 Mac OS X")
    save(folder / "imagesTs" / "hippocampus_002.nii.gz", np.ones((9, 11, 7), np.float32))
    describe(folder)
    return folder


def test_a_task_becomes_a_pool_without_taking_its_space_twice(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    out = tmp_path / "pool"
    result = command(decathlon.main, source=source, out=out)
    assert result.exit_code == 0, result.output
    manifest = manifest_of(out)
    assert manifest["labels"] == {"Anterior": 1, "Posterior": 2} and manifest["complete"]
    assert manifest["dataset"]["licence"] == "CC-BY-SA 4.0" and "Vanderbilt" in manifest["dataset"]["url"]
    for kind, original in (("studies", "imagesTr"), ("labels", "labelsTr")):
        assert len(list((out / kind).iterdir())) == 3
        for path in (out / kind).iterdir():
            assert os.path.samefile(path, source / original / path.name)
    assert manifest["cases"]["hippocampus_304"]["shape"] == [9, 11, 7]
    assert (out / "dataset.json").read_bytes() == (source / "dataset.json").read_bytes()
    assert command(decathlon.main, source=source, out=out).exit_code == 0
    assert not any(path.name.startswith("study-") for path in out.rglob("*"))


def test_channels_stay_a_fourth_axis(source: Path, tmp_path: Path, command: Command) -> None:
    save(source / "imagesTr" / "hippocampus_204.nii.gz", np.random.rand(9, 11, 7, 4).astype(np.float32))
    assert command(decathlon.main, source=source, out=tmp_path / "pool").exit_code == 0


def test_bad_volumes_are_named_and_the_rest_is_linked(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    image = source / "imagesTr" / "hippocampus_367.nii.gz"
    image.write_bytes(image.read_bytes()[:-500])
    save(source / "labelsTr" / "hippocampus_304.nii.gz", np.full((9, 11, 7), 5, np.uint8))
    result = command(decathlon.main, source=source, out=tmp_path / "pool")
    failed = manifest_of(tmp_path / "pool")["failed"]
    assert result.exit_code == 1 and sorted(failed) == ["hippocampus_304", "hippocampus_367"]
    assert f"{image}: cannot be read" in failed["hippocampus_367"]
    assert "has the values [5], the structures are [1, 2]" in failed["hippocampus_304"]
    assert [p.name for p in (tmp_path / "pool" / "studies").iterdir()] == ["hippocampus_204.nii.gz"]

    save(source / "labelsTr" / "hippocampus_304.nii.gz", np.ones((9, 11, 8), np.uint8))
    image.unlink()
    command(decathlon.main, source=source, out=tmp_path / "pool")
    manifest = manifest_of(tmp_path / "pool")
    assert "is not on its image's grid" in manifest["failed"]["hippocampus_304"]
    assert f"{image}: is missing" in manifest["failed"]["hippocampus_367"]
    assert manifest["counts"]["imagesTr"] == {"published": 3, "found": 2}


def test_what_is_no_task_is_refused(source: Path, tmp_path: Path, command: Command) -> None:
    result = command(decathlon.main, source=source / "imagesTr", out=tmp_path / "pool")
    assert result.exit_code == 2 and "has no folder imagesTr, labelsTr" in result.output
    (source / "dataset.json").write_text('{"name": "x"}')
    result = command(decathlon.main, source=source, out=tmp_path / "pool")
    assert (
        result.exit_code == 2
        and "is not the dataset.json of a Decathlon task (KeyError: 'labels')" in result.output
    )


def test_a_task_with_fewer_volumes_than_it_says(source: Path, tmp_path: Path, command: Command) -> None:
    describe(source, numTraining=260)
    result = command(decathlon.main, source=source, out=tmp_path / "pool")
    assert result.exit_code == 1 and "wrong count: 3 imagesTr; the published set has 260" in result.output


def test_the_real_hippocampus_volumes(real_data: Path, tmp_path: Path, command: Command) -> None:
    real = real_data / "hippocampus"
    names = sorted(path.name for path in (real / "images").glob("*.nii.gz"))[:10]
    if not names:
        pytest.skip("no hippocampus volumes there")
    for kind, folder in (("images", "imagesTr"), ("labels", "labelsTr")):
        (tmp_path / "Task04" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "Task04" / folder / name).symlink_to(real / kind / name)
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    describe(tmp_path / "Task04", numTraining=len(names), training=training)
    result = command(decathlon.main, source=tmp_path / "Task04", out=tmp_path / "pool")
    assert result.exit_code == 0, result.output
