"""The BUSI preparer on small files, laid out as published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import busi

Command = Callable[..., Any]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(busi, "PUBLISHED", {"benign": 1, "malignant": 1, "normal": 1})
    folder = tmp_path / "Dataset_BUSI_with_GT"
    for kind in busi.PUBLISHED:
        (folder / kind).mkdir(parents=True)
        grey = np.full((20, 30, 3), 90, np.uint8)
        Image.fromarray(grey).save(folder / kind / f"{kind} (1).png")
        mask = np.zeros((20, 30), np.uint8)
        if kind != "normal":
            mask[2:6, 3:9] = 255
        Image.fromarray(mask > 0).save(folder / kind / f"{kind} (1)_mask.png")  # one bit, as most are
    second = np.zeros((20, 30, 4), np.uint8)  # and some are in colour, with transparency
    second[10:12, 10:12, :3], second[..., 3] = 255, 255
    Image.fromarray(second).save(folder / "malignant" / "malignant (1)_mask_1.png")
    return folder


def test_masks_of_an_image_are_joined_and_normal_ones_are_empty(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    out = tmp_path / "pool"
    result = command(busi.main, source=source, out=out)
    assert result.exit_code == 0, result.output
    cases = manifest_of(out)["cases"]
    assert {name: (case["kind"], case["masks"]) for name, case in cases.items()} == {
        "benign_1": ("benign", 1),
        "malignant_1": ("malignant", 2),
        "normal_1": ("normal", 1),
    }
    study, label = (np.asarray(Image.open(out / f / "malignant_1.png")) for f in ("studies", "labels"))
    assert study.shape == label.shape == (20, 30) and (study == 90).all()
    assert set(np.unique(label)) == {0, 1} and label.sum() == 4 * 6 + 4
    assert not np.asarray(Image.open(out / "labels" / "normal_1.png")).any()


def test_what_does_not_fit_is_named(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    (source / "benign" / "benign (1)_mask.png").unlink()
    Image.fromarray(np.ones((20, 29), np.uint8)).save(source / "malignant" / "malignant (1)_mask_1.png")
    Image.fromarray(np.ones((20, 30), bool)).save(source / "normal" / "normal (1)_mask.png")
    result = command(busi.main, source=source, out=tmp_path / "pool")
    assert result.exit_code == 1
    failed = manifest_of(tmp_path / "pool")["failed"]
    assert "benign (1).png: has no mask" in failed["benign_1"]
    assert "has the shape (20, 29), its image (20, 30)" in failed["malignant_1"]
    assert "shows a lesion, but is normal" in failed["normal_1"]
