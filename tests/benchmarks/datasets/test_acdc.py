"""The ACDC preparer on small files, laid out as published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from benchmarks.datasets import acdc
from pool.imaging.decathlon import task_settings

Command = Callable[..., Any]


def add(part: Path, patient: str, frames: tuple[int, int]) -> None:
    folder = part / patient
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(
        f"ED: {frames[0]}\nES: {frames[1]}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
    )
    affine = np.diag([1.5, 1.5, 10.0, 1.0])
    for frame in frames:
        image, label = np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.zeros((5, 4, 3), np.uint8)
        label[1, 1, 1], label[2, 2, 1], label[3, 3, 1] = 1, 2, 3
        name = folder / f"{patient}_frame{frame:02d}"
        nibabel.save(nibabel.Nifti1Image(image, affine), f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, affine), f"{name}_gt.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 4, 3, 2)), affine), folder / f"{patient}_4d.nii.gz")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(acdc, "PUBLISHED", {"training": 2, "testing": 2})
    database = tmp_path / "database"
    add(database / "training", "patient001", (1, 12))
    add(database / "testing", "patient101", (1, 14))
    return database


def test_both_phases_keep_their_patient_and_the_app_knows_the_structures(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    out = tmp_path / "pool"
    result = command(acdc.main, source=source, out=out)
    assert result.exit_code == 0, result.output
    cases = manifest_of(out)["cases"]
    assert [(name, case["patient"], case["phase"], case["group"]) for name, case in cases.items()] == [
        ("patient001_frame01", "patient001", "ED", "DCM"),
        ("patient001_frame12", "patient001", "ES", "DCM"),
    ]
    assert cases["patient001_frame01"]["spacing_mm"] == [1.5, 1.5, 10.0]
    assert task_settings(str(out / "studies"))["labels"] == acdc.LABELS


def test_wrong_labels_and_frames_are_named(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    folder = source / "training" / "patient001"
    strange = nibabel.Nifti1Image(np.full((5, 4, 3), 4, np.uint8), np.diag([1.5, 1.5, 10.0, 1.0]))
    nibabel.save(strange, folder / "patient001_frame01_gt.nii.gz")
    (folder / "Info.cfg").write_text("ED: 1\nES: 11\n")
    result = command(acdc.main, source=source, out=tmp_path / "pool")
    assert result.exit_code == 1
    failed = manifest_of(tmp_path / "pool")["failed"]
    assert "has the values [4], the structures are [1, 2, 3]" in failed["patient001_frame01"]
    assert "neither the ED nor the ES" in failed["patient001_frame12"]


def test_test_patients_are_taken_on_request(source: Path) -> None:
    assert [case.id for case in acdc.plan(source, testing=True).cases] == [
        "patient001_frame01",
        "patient001_frame12",
        "patient101_frame01",
        "patient101_frame14",
    ]
