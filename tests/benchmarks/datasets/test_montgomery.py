"""The Montgomery preparer on small files and on files of the published size, laid out as published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from benchmarks.datasets import montgomery
from benchmarks.datasets.preparing import Case, Plan, Source, prepare
from pool.imaging.images import read_image
from pool.imaging.labels import read_label

LABELS = {"right lung": 1, "left lung": 2}
Command = Callable[..., Any]


def add(source: Path, name: str, shape: tuple[int, int] = (40, 48), seed: int = 0) -> np.ndarray:
    """Write one radiograph (H, W) with two masks, right lung on the picture's left; return the label."""
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    label = np.zeros(shape, np.uint8)
    label[shape[0] // 4 : shape[0] // 2, 4:16] = 1
    label[shape[0] // 4 : shape[0] // 2 + 3, 20:36] = 2
    save(source / "CXR_png" / f"{name}.png", image)
    save(source / "ManualMask" / "rightMask" / f"{name}.png", label == 1)
    save(source / "ManualMask" / "leftMask" / f"{name}.png", label == 2)
    return label


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four radiographs, and the other files of the download."""
    folder = tmp_path / "MontgomerySet"
    for i, name in enumerate(("MCUCXR_0001_0", "MCUCXR_0002_0", "MCUCXR_0104_1", "MCUCXR_0108_1")):
        add(folder, name, seed=i)
    (folder / "CXR_png" / "Thumbs.db").write_bytes(b"no image")
    (folder / "CXR_png" / "._MCUCXR_0001_0.png").write_bytes(b"no image")
    (folder / "ClinicalReadings").mkdir()
    (folder / "ClinicalReadings" / "MCUCXR_0001_0.txt").write_text("Patient's Sex: F")
    return folder


def test_masks_are_joined_and_pixels_and_spacing_are_kept(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(montgomery, "PUBLISHED", 4)
    out = tmp_path / "pool"
    result = command(montgomery.main, source=source, out=out, spacing=0.7)
    assert result.exit_code == 0, result.output
    study, label = (out / kind / "MCUCXR_0104_1.nii.gz" for kind in ("studies", "labels"))
    original = np.asarray(Image.open(source / "CXR_png" / "MCUCXR_0104_1.png"))
    pixels, affine = read_image(study)
    assert np.array_equal(pixels.T, original) and nibabel.load(study).get_data_dtype() == np.uint8
    assert np.allclose(np.abs(np.diag(affine))[:2], 0.7)
    assert np.array_equal(read_label(label, LABELS, study).T, add(tmp_path / "again", "x"))
    manifest = manifest_of(out)
    assert manifest["complete"] and manifest["labels"] == LABELS
    assert (
        manifest["counts"]["left masks"] == {"published": 4, "found": 4}
        and manifest["counts"]["written"] == 4
    )
    assert (
        "National Library of Medicine" in manifest["dataset"]["licence"] and manifest["dataset"]["citation"]
    )
    entry = manifest["cases"]["MCUCXR_0104_1"]
    assert entry["patient"] == "MCUCXR_0104" and entry["tuberculosis"] and entry["overlap_pixels"] == 0
    assert entry["sha256"]["study"] == hashlib.sha256(study.read_bytes()).hexdigest()
    assert sorted(p.name for p in out.iterdir()) == ["labels", "manifest.json", "studies"]


def test_the_published_size_needs_no_spacing_and_another_one_does(
    tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    source, out = tmp_path / "MontgomerySet", tmp_path / "pool"
    add(source, "MCUCXR_0001_0", (4020, 4892))
    add(source, "MCUCXR_0002_0")
    result = command(montgomery.main, source=source, out=out)
    assert result.exit_code == 1 and "MCUCXR_0002_0.png: is 48 x 40 pixels" in result.output
    assert "give --spacing" in result.output
    assert "wrong count: 2 images; the published set has 138" in result.output
    study = nibabel.load(out / "studies" / "MCUCXR_0001_0.nii.gz")
    assert study.shape == (4892, 4020, 1) and np.allclose(study.header.get_zooms()[:2], 0.0875)
    manifest = manifest_of(out)
    assert not manifest["complete"] and list(manifest["failed"]) == ["MCUCXR_0002_0"]


def test_bad_files_are_named_and_left_out_and_a_repaired_source_completes_the_pool(
    source: Path, tmp_path: Path, command: Command, manifest_of: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(montgomery, "PUBLISHED", 4)
    out, masks = tmp_path / "pool", source / "ManualMask"
    whole = (source / "CXR_png" / "MCUCXR_0001_0.png").read_bytes()
    (source / "CXR_png" / "MCUCXR_0001_0.png").write_bytes(whole[: len(whole) // 2])
    (masks / "leftMask" / "MCUCXR_0002_0.png").rename(tmp_path / "away.png")
    save(masks / "rightMask" / "MCUCXR_0104_1.png", np.ones((7, 9), bool))
    result = command(montgomery.main, source=source, out=out, spacing=0.7)
    assert result.exit_code == 1
    failed = manifest_of(out)["failed"]
    assert sorted(failed) == ["MCUCXR_0001_0", "MCUCXR_0002_0", "MCUCXR_0104_1"]
    assert f"{source / 'CXR_png' / 'MCUCXR_0001_0.png'}: cannot be read" in failed["MCUCXR_0001_0"]
    assert f"{masks / 'leftMask' / 'MCUCXR_0002_0.png'}: is missing" in failed["MCUCXR_0002_0"]
    assert "has 9 x 7 pixels, its image 48 x 40" in failed["MCUCXR_0104_1"]
    assert all(reason in result.output for reason in failed.values())
    assert [p.name for p in (out / "studies").iterdir()] == ["MCUCXR_0108_1.nii.gz"]
    kept = (out / "studies" / "MCUCXR_0108_1.nii.gz").stat().st_mtime_ns

    (source / "CXR_png" / "MCUCXR_0001_0.png").write_bytes(whole)
    (tmp_path / "away.png").rename(masks / "leftMask" / "MCUCXR_0002_0.png")
    add(source, "MCUCXR_0104_1", seed=2)
    assert command(montgomery.main, source=source, out=out, spacing=0.7).exit_code == 0
    manifest = manifest_of(out)
    assert manifest["complete"] and not manifest["failed"] and len(manifest["cases"]) == 4
    assert (out / "studies" / "MCUCXR_0108_1.nii.gz").stat().st_mtime_ns == kept


def test_swapped_masks_are_refused(source: Path, tmp_path: Path, command: Command) -> None:
    masks = source / "ManualMask"
    (masks / "leftMask").rename(tmp_path / "left")
    (masks / "rightMask").rename(masks / "leftMask")
    (tmp_path / "left").rename(masks / "rightMask")
    result = command(montgomery.main, source=source, out=tmp_path / "pool", spacing=0.7)
    assert result.exit_code == 1 and "are the masks swapped?" in result.output


def test_another_folder_and_another_out_are_refused(source: Path, tmp_path: Path, command: Command) -> None:
    result = command(montgomery.main, source=tmp_path, out=tmp_path.parent / f"{tmp_path.name}-out")
    assert result.exit_code == 2 and "has no folder CXR_png" in result.output
    result = command(montgomery.main, source=source, out=source / "pool", spacing=0.7)
    assert result.exit_code == 2 and "is inside --source" in result.output
    (tmp_path / "pool" / "studies").mkdir(parents=True)
    (tmp_path / "pool" / "studies" / "mine.png").touch()
    result = command(montgomery.main, source=source, out=tmp_path / "pool", spacing=0.7)
    assert result.exit_code == 2 and "choose another --out" in result.output
    command(montgomery.main, source=source, out=tmp_path / "second", spacing=0.7)
    result = command(montgomery.main, source=source, out=tmp_path / "second", spacing=0.5)
    assert result.exit_code == 2 and "'spacing_mm': 0.7" in result.output


# what all preparers share --------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_was_and_leaves_no_half_file(
    source: Path, tmp_path: Path, manifest_of: Command
) -> None:
    out, whole = tmp_path / "pool", montgomery.plan(source, 0.7)
    written: list[str] = []

    def noted(case: Case, interrupt: bool) -> Case:
        def write(study: Path, label: Path) -> dict[str, Any]:
            if interrupt and len(written) == 2:
                study.write_bytes(b"half")
                raise KeyboardInterrupt
            written.append(case.id)
            return case.write(study, label)

        return Case(case.id, write, case.suffix)

    def plan(interrupt: bool) -> Plan:
        cases = [noted(case, interrupt) for case in whole.cases]
        return Plan(whole.source, whole.labels, cases, whole.settings)

    with pytest.raises(KeyboardInterrupt):
        prepare(plan(interrupt=True), out)
    assert len(manifest_of(out)["cases"]) == 2 and not manifest_of(out)["complete"]
    assert len(list((out / "studies").iterdir())) == 2
    (out / "studies" / f"{written[0]}.nii.gz").write_bytes(b"changed")  # is noticed by its checksum
    assert prepare(plan(interrupt=False), out)["complete"]
    assert written == [*written[:2], written[0], *[case.id for case in whole.cases[2:]]]
    assert not (out / "unfinished").exists()


def test_a_case_that_the_source_no_longer_has_is_not_left_in_the_pool_unnoticed(
    source: Path, tmp_path: Path
) -> None:
    prepare(montgomery.plan(source, 0.7), tmp_path / "pool")
    for path in source.rglob("MCUCXR_0108_1.png"):
        path.unlink()
    with pytest.raises(ValueError, match="MCUCXR_0108_1.*choose another --out"):
        prepare(montgomery.plan(source, 0.7), tmp_path / "pool")


def test_a_full_disk_stops_instead_of_being_taken_for_a_bad_file(tmp_path: Path) -> None:
    def write(study: Path, label: Path) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    plan = Plan(Source("x", "", "", []), {"a": 1}, [Case("one", write)])
    with pytest.raises(OSError, match="No space left"):
        prepare(plan, tmp_path / "pool")


def test_the_real_set_in_the_published_layout(real_data: Path, tmp_path: Path, command: Command) -> None:
    """Split all 138 real (resized) radiographs into the published layout and join them again."""
    for path in sorted((real_data / "montgomery" / "images").glob("*.png")):
        label = np.asarray(Image.open(real_data / "montgomery" / "labels" / path.name))
        save(tmp_path / "set" / "CXR_png" / path.name, np.asarray(Image.open(path)))
        for side, value in (("rightMask", 1), ("leftMask", 2)):
            save(tmp_path / "set" / "ManualMask" / side / path.name, label == value)
    result = command(montgomery.main, source=tmp_path / "set", out=tmp_path / "pool", spacing=0.8)
    assert result.exit_code == 0, result.output
    for path in sorted((tmp_path / "pool" / "labels").iterdir())[::20]:
        expected = np.asarray(
            Image.open(real_data / "montgomery" / "labels" / path.name.replace(".nii.gz", ".png"))
        )
        assert np.array_equal(np.asarray(nibabel.load(path).dataobj)[..., 0].T, expected)
