"""Slices of volumes: evenly spaced, on the same grid as their labels, named by patient."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets.preparing import prepare
from benchmarks.datasets.slices import plan
from benchmarks.experiments.suite import read_suite


def volumes(folder: Path, count: int = 2) -> tuple[Path, Path]:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for n in range(count):
        image = np.zeros((8, 10, 11), np.float32)
        image[2:5, 3:9, :] = np.arange(11)  # brighter from slice to slice
        label = np.zeros(image.shape, np.uint8)
        label[2:5, 3:9, 5] = 2
        for name, array in (("images", image), ("labels", label)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name / f"patient_{n}.nii.gz")
    return folder / "images", folder / "labels"


def test_slices_lie_evenly_and_match_their_labels(tmp_path: Path) -> None:
    manifest = prepare(plan(*volumes(tmp_path), per_volume=3), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "studies").iterdir())
    assert names == [f"patient_{n}_s{at:03d}.png" for n in (0, 1) for at in (0, 5, 10)]
    assert manifest["labels"] == {"structure 2": 2} and manifest["complete"]
    study, label = (np.asarray(Image.open(tmp_path / "out" / f / names[1])) for f in ("studies", "labels"))
    assert study.shape == label.shape == (10, 8) and study.max() == round(255 * 5 / 10)
    assert np.array_equal(label > 0, study > 0) and set(np.unique(label)) == {0, 2}
    pattern = read_suite("hippocampus_slices").cells[0].groups
    assert {re.match(pattern, Path(name).stem).group(1) for name in names} == {"patient_0", "patient_1"}


def test_a_short_volume_gives_all_of_its_slices_once(tmp_path: Path) -> None:
    cases = plan(*volumes(tmp_path, 1), per_volume=30).cases
    assert [case.id for case in cases] == [f"patient_0_s{at:03d}" for at in range(11)]


def test_a_volume_without_a_label_is_named(tmp_path: Path) -> None:
    images, labels = volumes(tmp_path)
    (labels / "patient_1.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"has no patient_1.nii.gz \(1 of 2 volumes\)"):
        plan(images, labels, 3)
