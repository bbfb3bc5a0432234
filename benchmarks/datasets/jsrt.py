"""The JSRT chest X-rays with the SCR masks: 247 radiographs with lungs and heart.

    python -m benchmarks.datasets.jsrt --source All247images --masks scratch --out pools/jsrt

Published layout: `JPCLN001.IMG` (with a nodule) and `JPCNN001.IMG` (without), 2048 x 2048 pixels of 0.175
mm, 16-bit big-endian without a header, of which 12 bits are used and 0 is white (Shiraishi et al., 2000);
and in SCR's `fold1/masks` and `fold2/masks` the folders `heart`, `left lung` and `right lung` with
`JPCLN001.gif` of 1024 x 1024 pixels (van Ginneken et al., 2006). Images are written as NIfTI with black 0;
masks are doubled in size. Which lung is the right one is told by its place, on the picture's left; the
heart lies in front. Clavicles are not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.datasets.files import (
    LUNGS,
    check_file,
    check_folder,
    join_lungs,
    picture_affine,
    read_mask,
    write_nifti,
)
from benchmarks.datasets.preparing import Case, DataError, Plan, Source, run

SOURCE = Source(
    name="JSRT with SCR masks",
    url="http://db.jsrt.or.jp/eng.php; https://www.isi.uu.nl/Research/Databases/SCR",
    licence="JSRT: free for research and education, to be cited; SCR: for research, to be cited, and not to "
    "be passed on",
    citation=[
        "J. Shiraishi et al., Development of a digital image database for chest radiographs with and without "
        "a lung nodule, AJR 174, 2000, doi:10.2214/ajr.174.1.1740071",
        "B. van Ginneken, M. B. Stegmann, M. Loog, Segmentation of anatomical structures in chest "
        "radiographs using supervised methods, Med Image Anal 10, 2006, doi:10.1016/j.media.2005.02.002",
    ],
)
PUBLISHED = 247
SIDE, SPACING = 2048, 0.175  # pixels, and mm of each
WHITE = 4095  # value of the darkest pixel in the files
LABELS = {**LUNGS, "heart": 3}
MASKS = ("left lung", "right lung", "heart")


def plan(source: Path, masks: Path) -> Plan:
    """List the cases to write. Raises ValueError if `masks` is not laid out as published."""
    check_folder(masks, "fold1/masks", "fold2/masks")
    images = {path.stem: path for path in sorted(source.glob("[!.]*.IMG"))}
    drawn = [{p.stem: p for p in sorted(masks.glob(f"fold[12]/masks/{kind}/[!.]*.gif"))} for kind in MASKS]
    names = sorted(set(images).union(*drawn))
    if not names:
        raise ValueError(f"{source} has no .IMG files: --source is the folder with JPCLN001.IMG")
    cases = [
        Case(name, _writer(images.get(name, source / f"{name}.IMG"), [of.get(name) for of in drawn]))
        for name in names
    ]
    counts = {"images": (PUBLISHED, len(images))}
    counts |= {f"masks of {kind}": (PUBLISHED, len(of)) for kind, of in zip(MASKS, drawn, strict=True)}
    return Plan(SOURCE, LABELS, cases, {"spacing_mm": SPACING}, counts)


def _writer(image_path: Path, masks: list[Path | None]) -> Any:
    def write(study: Path, label: Path) -> dict[str, Any]:
        image = _read(image_path)
        found = dict(zip(MASKS, masks, strict=True))
        if missing := [kind for kind, path in found.items() if path is None]:
            raise DataError(f"{image_path}: has no mask of its {missing[0]}; copy it from the download again")
        paths = {kind: path for kind, path in found.items() if path is not None}
        affine = picture_affine(SPACING)
        write_nifti(study, image.T[..., None], affine)
        write_nifti(label, _label(paths, image_path).T[..., None], affine)
        return {
            "patient": image_path.stem,
            "nodule": image_path.stem.startswith("JPCLN"),
            "fold": paths["heart"].parents[2].name,
        }

    return write


def _read(path: Path) -> np.ndarray:
    """Read an image as (H, W) uint16, black 0. Raises DataError."""
    check_file(path)
    values = np.fromfile(path, ">u2")
    if values.size != SIDE * SIDE:
        raise DataError(
            f"{path}: has {path.stat().st_size} bytes; the published files have {2 * SIDE * SIDE}"
        )
    return np.asarray(WHITE - np.minimum(values, WHITE), np.uint16).reshape(SIDE, SIDE)


def _label(paths: Mapping[str, Path], image: Path) -> np.ndarray:
    """Join the masks to one label (SIDE, SIDE). Raises DataError."""
    shape = (SIDE // 2, SIDE // 2)
    lungs = sorted((read_mask(paths[kind], shape) for kind in MASKS[:2]), key=_column)
    label = join_lungs(lungs[0], lungs[1], image)
    label[read_mask(paths["heart"], shape)] = LABELS["heart"]
    return label.repeat(2, axis=0).repeat(2, axis=1)


def _column(mask: np.ndarray) -> float:
    return float(np.average(np.arange(mask.shape[1]), weights=mask.sum(axis=0)))


def main(
    source: Annotated[Path, typer.Option(help="Folder with the .IMG files", exists=True, file_okay=False)],
    masks: Annotated[Path, typer.Option(help="The unpacked SCR masks", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for studies/, labels/ and manifest.json")],
) -> None:
    """Join JSRT's images and SCR's masks: right lung 1, left lung 2, heart 3."""
    run(lambda: plan(source, masks), source, out)


if __name__ == "__main__":
    typer.run(main)
