"""The JSRT preparer on small files, laid out as published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import jsrt

Command = Callable[..., Any]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two radiographs of 32 x 32 pixels, whose lungs are named the other way round in one fold."""
    monkeypatch.setattr(jsrt, "SIDE", 32)
    monkeypatch.setattr(jsrt, "PUBLISHED", 2)
    images, masks = tmp_path / "All247images", tmp_path / "scratch"
    images.mkdir()
    for name, fold, sides in (
        ("JPCLN001", "fold1", ("left lung", "right lung")),
        ("JPCNN002", "fold2", ("right lung", "left lung")),
    ):
        values = np.full((32, 32), 4095, ">u2")
        values[0, 5], values[1, 0] = 0, 4000
        values.tofile(images / f"{name}.IMG")
        for kind, columns in zip((*sides, "heart"), (slice(1, 6), slice(9, 15), slice(5, 11)), strict=True):
            mask = np.zeros((16, 16), np.uint8)
            mask[4 : 8 if kind == "heart" else 12, columns] = 255
            folder = masks / fold / "masks" / kind
            folder.mkdir(parents=True)
            Image.fromarray(mask).save(folder / f"{name}.gif")
    return images, masks


def test_pixels_are_turned_to_black_0_and_lungs_told_by_their_place(
    source: tuple[Path, Path], tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    out = tmp_path / "pool"
    result = command(jsrt.main, source=source[0], masks=source[1], out=out)
    assert result.exit_code == 0, result.output
    cases = manifest_of(out)["cases"]
    assert [(case["nodule"], case["fold"]) for case in cases.values()] == [(True, "fold1"), (False, "fold2")]
    study = nibabel.load(out / "studies" / "JPCLN001.nii.gz")
    pixels = np.asanyarray(study.dataobj)[..., 0].T
    assert (pixels[0, 5], pixels[1, 0], pixels[2, 2]) == (4095, 95, 0)
    assert study.header.get_zooms()[:2] == pytest.approx((0.175, 0.175))
    for name in cases:
        label = np.asanyarray(nibabel.load(out / "labels" / f"{name}.nii.gz").dataobj)[..., 0].T
        assert label.shape == (32, 32)
        assert (label[20, 4], label[20, 24], label[10, 11], label[10, 20]) == (1, 2, 3, 3)


def test_a_cut_image_and_a_missing_mask_are_named(
    source: tuple[Path, Path], tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    images, masks = source
    cut = images / "JPCLN001.IMG"
    cut.write_bytes(cut.read_bytes()[:-2])
    (masks / "fold2" / "masks" / "heart" / "JPCNN002.gif").unlink()
    result = command(jsrt.main, source=images, masks=masks, out=tmp_path / "pool")
    assert result.exit_code == 1
    failed = manifest_of(tmp_path / "pool")["failed"]
    assert "has 2046 bytes; the published files have 2048" in failed["JPCLN001"]
    assert "has no mask of its heart" in failed["JPCNN002"]
    assert "wrong count: 1 masks of heart; the published set has 2" in result.output


def test_another_folder_is_refused(tmp_path: Path, source: tuple[Path, Path], command: Command) -> None:
    result = command(jsrt.main, source=source[0], masks=source[0], out=tmp_path / "pool")
    assert result.exit_code == 2 and "has no folder fold1/masks" in result.output
