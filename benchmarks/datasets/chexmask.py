"""ChestX-ray8 with CheXmask's masks of both lungs and the heart: the best 300 of 800 sampled patients.

    python -m benchmarks.datasets.chexmask --source CXR8 --masks ChestX-Ray8.csv --out pools/chexmask

Images: the PNG files of ChestX-ray8 (`00000001_000.png`: patient, number), in one folder or in
`images_001/images` etc. Masks: `OriginalResolution/ChestX-Ray8.csv` of CheXmask on PhysioNet, one row per
image, masks run-length encoded (Gaggion et al., 2024).

Follows arXiv 2601.18532, section 4.1: 800 images, at most one per patient; keep the 300 with the highest mean
RCA Dice. The paper does not publish which 800; here a seed samples the patients, then one image of each.
"""

from __future__ import annotations

import csv
import math
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from tqdm import tqdm

from benchmarks.datasets.files import LUNGS, join_lungs, read_picture, write_picture
from benchmarks.datasets.preparing import Case, DataError, Plan, Source, run

SOURCE = Source(
    name="ChestX-ray8 with CheXmask",
    url="https://nihcc.app.box.com/v/ChestXray-NIHCC (images), "
    "https://physionet.org/content/chexmask-cxr-segmentation-data (masks)",
    licence="images: no restrictions, with a link to the download site, citation of the article, and the "
    "acknowledgement that the NIH Clinical Center is the data provider; masks: CC BY 4.0",
    citation=[
        "X. Wang et al., ChestX-ray8: hospital-scale chest X-ray database and benchmarks, CVPR 2017, "
        "doi:10.1109/CVPR.2017.369",
        "N. Gaggion et al., CheXmask: a large-scale dataset of anatomical segmentation masks for "
        "multi-center chest x-ray images, Sci Data 11, 2024, doi:10.1038/s41597-024-03358-1",
    ],
)
PUBLISHED = 112_120
LABELS = {**LUNGS, "heart": 3}
SCORE = "Dice RCA (Mean)"
COLUMNS = ("Image Index", SCORE, "Left Lung", "Right Lung", "Heart", "Height", "Width")


def decode_rle(text: str, height: int, width: int) -> np.ndarray:
    """Decode "start length start length ..." to a mask (height, width), bool.

    Starts count from 1 in row-major order, as in CheXmask's own `get_mask_from_RLE`. Raises ValueError if the
    text is not pairs of numbers, runs are out of order, or a run ends beyond the image.
    """
    runs = np.array(text.split(), dtype=np.int64)  # ValueError unless all are numbers
    if len(runs) == 0 or len(runs) % 2:
        raise ValueError(f"{len(runs)} numbers are not pairs of start and length")
    starts, lengths = runs[::2] - 1, runs[1::2]
    if (lengths < 1).any() or starts[0] < 0 or (starts[1:] < (starts + lengths)[:-1]).any():
        raise ValueError("its runs are not in order")
    if starts[-1] + lengths[-1] > height * width:
        raise ValueError(f"its last run ends beyond {width} x {height} pixels")
    edges = np.zeros(height * width + 1, np.int8)
    edges[starts] += 1
    edges[starts + lengths] -= 1
    return np.cumsum(edges[:-1], dtype=np.int8).reshape(height, width) > 0


def plan(source: Path, masks: Path, sample: int = 800, keep: int = 300, seed: int = 42) -> Plan:
    """Sample the images and plan their masks.

    Raises ValueError if there are no images, columns are missing from the table, or there are too few
    patients.
    """
    images = find_images(source)
    scores = {row["Image Index"]: row[SCORE] for row in _rows(masks, "scores")}
    usable: dict[str, float] = {}
    for name in scores.keys() & images.keys():
        usable[name] = _number(scores[name])
        if math.isnan(usable[name]):
            raise ValueError(f"{masks}: {name} has the {SCORE} {scores[name]!r}, not a number")
    chosen = draw(usable, sample, keep, seed)
    rows = {row["Image Index"]: row for row in _rows(masks, "masks", chosen)}
    cases = [Case(Path(name).stem, _writer(images[name], rows[name]), ".png") for name in chosen]
    counts = {"images": (PUBLISHED, len(images)), "rows of masks": (PUBLISHED, len(scores))}
    return Plan(SOURCE, LABELS, cases, {"sample": sample, "keep": keep, "seed": seed}, counts)


def _number(text: str | None) -> float:
    """Parse a table cell; NaN if it is not a number."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def find_images(source: Path) -> dict[str, Path]:
    """Find ChestX-ray8's images below a folder: {file name: path}. Raises ValueError if there are none."""
    images = {path.name: path for path in source.rglob("[0-9]*_[0-9]*.png")}
    if not images:
        raise ValueError(
            f"{source} has no images like 00000001_000.png: --source is the folder that "
            "images_*.tar.gz unpack to"
        )
    return images


def draw(scores: dict[str, float], sample: int, keep: int, seed: int) -> list[str]:
    """Sample `sample` patients and one image of each; return the names of the `keep` best, sorted.

    The best have the highest scores; ties go to the first name. Deterministic in the names and the seed.
    Raises ValueError if there are fewer patients than `sample`.
    """
    if keep > sample:
        raise ValueError(f"--keep {keep} is more than --sample {sample}")
    of_patient: dict[str, list[str]] = {}
    for name in sorted(scores):
        of_patient.setdefault(name.split("_")[0], []).append(name)
    if len(of_patient) < sample:
        raise ValueError(
            f"{len(of_patient)} patients have an image and masks, but {sample} are to be drawn: unpack more "
            "images_*.tar.gz, or give a smaller --sample and --keep"
        )
    rng = np.random.default_rng(seed)
    patients = rng.choice(sorted(of_patient), sample, replace=False)
    drawn = [of_patient[patient][rng.integers(len(of_patient[patient]))] for patient in patients]
    return sorted(sorted(drawn, key=lambda name: (-scores[name], name))[:keep])


def _rows(masks: Path, what: str, selected: Collection[str] | None = None) -> Iterator[dict[str, str]]:
    """Read the table's rows, all or only the selected images'. Raises ValueError if columns are missing."""
    csv.field_size_limit(sys.maxsize)  # masks exceed csv's limit of 128 KiB
    names = None if selected is None else set(selected)
    with (
        open(masks, encoding="utf-8-sig", newline="") as file,
        tqdm(desc=what, total=masks.stat().st_size, unit="B", unit_scale=True, disable=None) as bar,
    ):

        def lines() -> Iterator[str]:
            for line in file:
                bar.update(len(line))
                yield line

        reader = csv.DictReader(lines())
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{masks}: has no column {', '.join(missing)}; --masks is OriginalResolution/ChestX-Ray8.csv"
            )
        for row in reader:
            if names is None or row["Image Index"] in names:
                yield row


def _writer(path: Path, row: dict[str, str]) -> Any:
    def write(study: Path, label: Path) -> dict[str, Any]:
        shape = read_picture(path).shape[:2]
        table = _number(row["Height"]), _number(row["Width"])
        if table != shape:
            raise DataError(
                f"{path}: is {shape[1]} x {shape[0]} pixels, its masks {table[1]:g} x {table[0]:g}; "
                "take the image as published, 1024 x 1024"
            )
        right, left, heart = (_decode(row, name, shape) for name in ("Right Lung", "Left Lung", "Heart"))
        joined = join_lungs(right, left, path)
        joined[heart] = LABELS["heart"]  # in front of the lungs
        write_picture(label, joined)
        shutil.copyfile(path, study)
        return {"patient": path.name.split("_")[0], "rca_dice_mean": float(row[SCORE])}

    return write


def _decode(row: dict[str, str], column: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return decode_rle(row[column] or "", shape[0], shape[1])
    except ValueError as error:
        name = row["Image Index"]
        raise DataError(f"row {name}, column {column}: the mask cannot be decoded, {error}") from error


def main(
    source: Annotated[
        Path, typer.Option(help="Folder of ChestX-ray8's images, or of their folders", exists=True)
    ],
    masks: Annotated[
        Path, typer.Option(help="CheXmask's OriginalResolution/ChestX-Ray8.csv", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for studies/, labels/ and manifest.json")],
    sample: Annotated[int, typer.Option(help="Number of patients to sample", min=1)] = 800,
    keep: Annotated[int, typer.Option(help="Number of them to keep, by mean RCA Dice", min=1)] = 300,
    seed: Annotated[int, typer.Option(help="Seed of the sampling")] = 42,
) -> None:
    """Sample images of ChestX-ray8 and write CheXmask's masks: right lung 1, left lung 2, heart 3."""
    run(lambda: plan(source, masks, sample, keep, seed), source, out)


if __name__ == "__main__":
    typer.run(main)
