"""ChestX-ray8 with CheXmask: run lengths, sampling, and the preparer on a table in the published format."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.datasets import chexmask
from benchmarks.datasets.chexmask import decode_rle, draw
from pool.imaging.images import read_image
from pool.imaging.labels import read_label

Command = Callable[..., Any]
COLUMNS = [
    "Image Index",
    "Dice RCA (Mean)",
    "Dice RCA (Max)",
    "Landmarks",
    "Left Lung",
    "Right Lung",
    "Heart",
    "Height",
    "Width",
]
SIDE = 32


def encode_rle(mask: np.ndarray) -> str:
    """Encode a mask (H, W) in the published format, as described there: row by row, counting from 1."""
    words: list[int] = []
    previous = False
    for place, inside in enumerate(mask.ravel().tolist(), start=1):
        if inside and not previous:
            words += [place, 0]
        if inside:
            words[-1] += 1
        previous = inside
    return " ".join(map(str, words))


def masks_of(seed: int) -> dict[str, np.ndarray]:
    """Return masks with the right lung on the picture's left and the heart overlapping the left lung."""
    shift = seed % 3
    boxes = {
        "Right Lung": np.s_[6:20, 4 + shift : 12],
        "Left Lung": np.s_[6:20, 18 : 26 + shift],
        "Heart": np.s_[14:22, 13:21],
    }
    out = {}
    for name, box in boxes.items():
        out[name] = np.zeros((SIDE, SIDE), bool)
        out[name][box] = True
    return out


def row_of(name: str, score: float, seed: int) -> dict[str, Any]:
    masks = {key: encode_rle(mask) for key, mask in masks_of(seed).items()}
    more = {
        "Dice RCA (Mean)": score,
        "Dice RCA (Max)": 0.9,
        "Landmarks": "[1,\n 2]",
        "Height": SIDE,
        "Width": SIDE,
    }
    return {"Image Index": name, **more, **masks}


@pytest.fixture
def names() -> dict[str, float]:
    """{image: mean RCA Dice} of ten patients; three of them have two images."""
    of = [(p, 0) for p in range(1, 11)] + [(p, 1) for p in (2, 5, 9)]
    return {f"{p:08d}_{n:03d}.png": round(0.70 + 0.013 * ((7 * p + n) % 11), 3) for p, n in of}


@pytest.fixture
def write(tmp_path: Path, names: dict[str, float]) -> Callable[..., tuple[Path, Path]]:
    """write(**changed rows): write the images to two folders, and the table; return both."""

    def make(**changes: dict[str, Any]) -> tuple[Path, Path]:
        source, table = tmp_path / "CXR8", tmp_path / "ChestX-Ray8.csv"
        for i, name in enumerate(sorted(names)):
            folder = source / f"images_00{1 + i % 2}" / "images"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
            Image.fromarray(pixels).convert("RGBA" if i == 3 else "L").save(folder / name)
        with open(table, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for i, (name, score) in enumerate(names.items()):
                key = name.removesuffix(".png")
                writer.writerow({**row_of(name, score, i), **changes.get(f"x{key}", {})})
        return source, table

    return make


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch, names: dict[str, float]) -> None:
    monkeypatch.setattr(chexmask, "PUBLISHED", len(names))


def run(
    command: Command, paths: tuple[Path, Path], out: Path, sample: int = 8, keep: int = 5, seed: int = 1
) -> Any:
    words = {"source": paths[0], "masks": paths[1], "out": out, "sample": sample, "keep": keep, "seed": seed}
    return command(chexmask.main, **words)


def test_run_lengths_by_hand() -> None:
    mask = decode_rle("2 3 6 1 11 2", 3, 4)
    assert mask.astype(int).tolist() == [[0, 1, 1, 1], [0, 1, 0, 0], [0, 0, 1, 1]]
    assert decode_rle("1 4 5 8", 3, 4).all(), "runs may touch"


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_run_lengths_come_back(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    mask[0, 0] = True
    assert np.array_equal(decode_rle(encode_rle(mask), height, width), mask)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not pairs"), ("1 2 3", "not pairs"), ("1 x", "x"), ("0 2", "order"), ("5 2 1 2", "order"),
     ("1 3 3 1", "order"), ("1 0", "order"), ("12 2", "beyond")],
)  # fmt: skip
def test_bad_run_lengths_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_rle(text, 3, 4)


def test_the_draw_is_seeded_has_one_image_per_patient_and_keeps_the_best(names: dict[str, float]) -> None:
    drawn = draw(names, sample=8, keep=8, seed=1)
    assert draw(dict(reversed(names.items())), 8, 8, 1) == drawn and draw(names, 8, 8, 2) != drawn
    patients = [name.split("_")[0] for name in drawn]
    assert len(drawn) == len(set(patients)) == 8
    best = sorted(drawn, key=lambda name: (-names[name], name))[:3]
    assert draw(names, 8, 3, 1) == sorted(best)
    with pytest.raises(ValueError, match="10 patients .* 11 are to be drawn"):
        draw(names, 11, 3, 1)
    with pytest.raises(ValueError, match="--keep 9"):
        draw(names, 8, 9, 1)


def test_both_images_of_a_patient_can_be_drawn(names: dict[str, float]) -> None:
    drawn = {name for seed in range(30) for name in draw(names, 10, 10, seed)}
    assert drawn == set(names)


def test_masks_become_labels_and_images_are_copied(
    write: Command, tmp_path: Path, command: Command, manifest_of: Command, names: dict[str, float]
) -> None:
    paths, out = write(), tmp_path / "pool"
    result = run(command, paths, out)
    assert result.exit_code == 0, result.output
    manifest, chosen = manifest_of(out), draw(names, 8, 5, 1)
    assert manifest["settings"] == {"sample": 8, "keep": 5, "seed": 1}
    assert [f"{name}.png" for name in manifest["cases"]] == chosen and manifest["counts"]["written"] == 5
    assert sorted(p.name for p in (out / "studies").iterdir()) == chosen
    for name in chosen:
        study = out / "studies" / name
        assert study.read_bytes() == next(paths[0].rglob(name)).read_bytes()
        masks = masks_of(list(names).index(name))
        expected = np.zeros((SIDE, SIDE), int)
        for structure, value in (("Right Lung", 1), ("Left Lung", 2), ("Heart", 3)):
            expected[masks[structure]] = value
        label = read_label(out / "labels" / name, manifest["labels"], study)
        assert np.array_equal(label.T, expected)
        read_image(study)  # also where ChestX-ray8 has colours
        entry = manifest["cases"][name.removesuffix(".png")]
        assert entry["patient"] == name.split("_")[0] and entry["rca_dice_mean"] == names[name]


def test_bad_rows_and_images_are_named_and_the_rest_is_written(
    write: Command, tmp_path: Path, command: Command, manifest_of: Command, names: dict[str, float]
) -> None:
    chosen = [name.removesuffix(".png") for name in draw(names, 8, 5, 1)]
    changes = {
        f"x{chosen[0]}": {"Heart": ""},
        f"x{chosen[1]}": {"Height": 1024},
        f"x{chosen[2]}": {"Left Lung": "1000 500"},
    }
    paths, out = write(**changes), tmp_path / "pool"
    damaged = next(paths[0].rglob(f"{chosen[3]}.png"))
    damaged.write_bytes(damaged.read_bytes()[:60])
    result = run(command, paths, out)
    failed = manifest_of(out)["failed"]
    assert result.exit_code == 1 and sorted(failed) == chosen[:4]
    assert f"row {chosen[0]}.png, column Heart" in failed[chosen[0]]
    assert "is 32 x 32 pixels, its masks 32 x 1024" in failed[chosen[1]]
    assert "beyond 32 x 32 pixels" in failed[chosen[2]]
    assert str(damaged) in failed[chosen[3]]
    assert [p.stem for p in (out / "labels").iterdir()] == chosen[4:]


def test_a_part_of_the_images_is_drawn_from_and_said(
    write: Command, tmp_path: Path, command: Command, manifest_of: Command
) -> None:
    paths = write()
    for path in sorted((paths[0] / "images_002" / "images").iterdir())[1:]:
        path.unlink()
    result = run(command, paths, tmp_path / "pool", sample=6, keep=4)
    assert result.exit_code == 1 and "wrong count: 8 images; the published set has 13" in result.output
    assert manifest_of(tmp_path / "pool")["counts"]["written"] == 4


def test_a_table_of_another_kind_and_a_score_that_is_none_are_refused(
    write: Command, tmp_path: Path, command: Command
) -> None:
    paths = write(x00000003_000={"Dice RCA (Mean)": "nan"})
    result = run(command, paths, tmp_path / "pool")
    assert result.exit_code == 2 and "00000003_000.png has the Dice RCA (Mean) 'nan'" in result.output
    paths[1].write_text(paths[1].read_text().replace("Image Index", "dicom_id"))
    result = run(command, paths, tmp_path / "pool")
    assert result.exit_code == 2 and "has no column Image Index" in result.output
