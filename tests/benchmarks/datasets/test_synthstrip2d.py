"""The SynthStrip 2-D preparer on folders laid out as published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from benchmarks.datasets import synthstrip2d
from benchmarks.datasets.synthstrip2d import LABELS, STRUCTURES, map_structures, one_slice
from pool.imaging.images import read_image
from pool.imaging.labels import read_label

Command = Callable[..., Any]
# a sagittal slice of a conformed volume: right to left is the axis of one slice
SAGITTAL = np.array([[-1.0, 0, 0, 12], [0, 0, 1, -120], [0, -1, 0, 130], [0, 0, 0, 1]])


def save(path: Path, array: np.ndarray, affine: np.ndarray = SAGITTAL) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def scan(source: Path, name: str, labels: bool = True, seed: int = 0) -> np.ndarray:
    """Write one scan's folder; return FreeSurfer's values (24, 20)."""
    image = np.random.default_rng(seed).random((1, 24, 20)).astype(np.float32) * 300
    values = np.zeros((1, 24, 20), np.int32)
    values[0, 4:20, 3:17], values[0, 8:14, 6:12] = 42, 41  # right cortex and white matter
    values[0, 9:11, 7:9], values[0, 12, 7] = 43, 251  # ventricle, corpus callosum
    values[0, :2] = 258  # outside the brain
    save(source / name / "image.nii.gz", image)
    save(source / name / "mask.nii.gz", (values < 256).astype(np.uint8))
    if labels:
        save(source / name / "labels.nii.gz", values)
    return values[0]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One or two scans of each group, and scans of other contrasts, without labels."""
    monkeypatch.setattr(synthstrip2d, "PUBLISHED", {"fsm_t1": 2, "asl_t1": 1, "ixi_t1": 1})
    folder = tmp_path / "synthstrip_data_v1.5_2d"
    for i, name in enumerate(("fsm_t1_54jc", "fsm_t1_02cd", "asl_t1_110", "ixi_t1_015")):
        scan(folder, name, seed=i)
    for name in ("fsm_pd_54jc", "asl_epi_110", "ixi_dwi_015", "qin_flair_03"):
        scan(folder, name, labels=False)
    return folder


def test_labelled_t1_slices_are_taken_with_their_geometry(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    out = tmp_path / "pool"
    result = command(synthstrip2d.main, source=source, out=out)
    assert result.exit_code == 0, result.output
    manifest = manifest_of(out)
    assert sorted(manifest["cases"]) == ["asl_t1_110", "fsm_t1_02cd", "fsm_t1_54jc", "ixi_t1_015"]
    entry = manifest["cases"]["fsm_t1_54jc"]
    assert entry["patient"] == "fsm_54jc" and entry["structures"] == 3
    assert entry["values_left_out"] == {"258": 2 * 20}
    study = out / "studies" / "fsm_t1_54jc.nii.gz"
    pixels, affine = read_image(study)
    original = nibabel.load(source / "fsm_t1_54jc" / "image.nii.gz")
    assert np.array_equal(pixels, np.asarray(original.dataobj)[0])
    assert np.allclose(affine @ [3, 5, 0, 1], original.affine @ [0, 3, 5, 1])
    label = read_label(out / "labels" / study.name, manifest["labels"], study)
    values = np.asarray(nibabel.load(source / "fsm_t1_54jc" / "labels.nii.gz").dataobj)[0]
    assert (label[values == 42] == LABELS["cerebral cortex"]).all()
    assert (label[(values == 41) | (values == 251)] == LABELS["cerebral white matter"]).all()
    assert (label[values == 43] == LABELS["lateral ventricle"]).all() and not label[:2].any()


def test_each_value_belongs_to_one_structure() -> None:
    members = [value for values in STRUCTURES.values() for value in values]
    assert len(members) == len(set(members)) and sorted(LABELS.values()) == list(range(1, 19))
    mapped, left_out = map_structures(np.array([0, 2, 41, 17, 53, 24, 165, 165]))
    assert mapped.tolist() == [0, 1, 1, LABELS["hippocampus"], LABELS["hippocampus"], LABELS["CSF"], 0, 0]
    assert left_out == {"165": 2}


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (1, 6, 5), (6, 1, 5), (6, 5, 1, 1)])
def test_the_slice_is_found_on_any_axis(shape: tuple[int, ...]) -> None:
    array = np.arange(30, dtype=np.float32).reshape(shape)
    plane, affine = one_slice(nibabel.Nifti1Image(array, SAGITTAL), Path("x"))
    assert plane.shape == (6, 5, 1) and np.array_equal(plane.ravel(), np.arange(30))
    place = [0, 0, 0]
    axes = [a for a in range(3) if a >= len(shape) or shape[a] != 1][:2]
    place[axes[0]], place[axes[1]] = 4, 2
    assert np.allclose(affine @ [4, 2, 0, 1], SAGITTAL @ [*place, 1])


def test_bad_scans_are_named_and_the_rest_is_written(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    (source / "fsm_t1_02cd" / "labels.nii.gz").unlink()
    image = source / "fsm_t1_54jc" / "image.nii.gz"
    image.write_bytes(image.read_bytes()[:-200])
    save(source / "ixi_t1_015" / "image.nii.gz", np.ones((8, 8, 8), np.float32))
    result = command(synthstrip2d.main, source=source, out=tmp_path / "pool")
    failed = manifest_of(tmp_path / "pool")["failed"]
    assert result.exit_code == 1 and sorted(failed) == ["fsm_t1_02cd", "fsm_t1_54jc", "ixi_t1_015"]
    assert f"{source / 'fsm_t1_02cd' / 'labels.nii.gz'}: is missing" in failed["fsm_t1_02cd"]
    assert f"{image}: cannot be read" in failed["fsm_t1_54jc"]
    assert "expected one slice; is this the 3-D release?" in failed["ixi_t1_015"]
    assert [p.name for p in (tmp_path / "pool" / "labels").iterdir()] == ["asl_t1_110.nii.gz"]


def test_labels_on_another_grid_are_refused(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    labels = source / "asl_t1_110" / "labels.nii.gz"
    moved = SAGITTAL.copy()
    moved[1, 3] += 2
    save(labels, np.asarray(nibabel.load(labels).dataobj), moved)
    command(synthstrip2d.main, source=source, out=tmp_path / "pool")
    assert "is not on its image's grid" in manifest_of(tmp_path / "pool")["failed"]["asl_t1_110"]


def test_missing_scans_and_another_folder_are_said(source: Path, tmp_path: Path, command: Command) -> None:
    (source / "ixi_t1_015").rename(tmp_path / "ixi_t1_015")
    result = command(synthstrip2d.main, source=source, out=tmp_path / "pool")
    assert result.exit_code == 1 and "wrong count: 0 ixi_t1 scans; the published set has 1" in result.output
    result = command(synthstrip2d.main, source=tmp_path / "pool", out=tmp_path / "second")
    assert result.exit_code == 2 and "has no folders fsm_t1_*" in result.output
