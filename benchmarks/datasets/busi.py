"""BUSI: 780 breast ultrasound images with masks of their lesions; a sixth shows none.

    python -m benchmarks.datasets.busi --source Dataset_BUSI_with_GT --out pools/busi

Published layout: the folders `benign`, `malignant` and `normal` with `benign (1).png`, `benign
(1)_mask.png` and, where an image has several lesions, `benign (100)_mask_1.png` and so on (Al-Dhabyani et
al., 2020). Images are written in 8-bit grey as `benign_1.png`, their masks joined to one label: lesion 1.
Which images are of one patient is not published.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from benchmarks.datasets.files import check_folder, read_picture, write_picture
from benchmarks.datasets.preparing import Case, DataError, Plan, Source, run

SOURCE = Source(
    name="Dataset BUSI",
    url="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
    licence="no named licence: made available for research, with the request to cite the article",
    citation=[
        "W. Al-Dhabyani, M. Gomaa, H. Khaled, A. Fahmy, Dataset of breast ultrasound images, Data in Brief "
        "28, 2020, doi:10.1016/j.dib.2019.104863"
    ],
)
PUBLISHED = {"benign": 437, "malignant": 210, "normal": 133}
LABELS = {"lesion": 1}
_NAME = re.compile(r"^(benign|malignant|normal) \((\d+)\)(_mask(?:_\d+)?)?$")


def plan(source: Path) -> Plan:
    """List the cases to write. Raises ValueError if `source` is not laid out as published."""
    check_folder(source, *PUBLISHED)
    images, masks = dict[str, Path](), dict[str, list[Path]]()
    for kind in PUBLISHED:
        for path in sorted((source / kind).glob("[!.]*.png")):
            if match := _NAME.match(path.stem):
                name = f"{match[1]}_{match[2]}"
                if match[3]:
                    masks.setdefault(name, []).append(path)
                else:
                    images[name] = path
    cases = [
        Case(name, _writer(images.get(name), masks.get(name, [])), ".png")
        for name in sorted(images.keys() | masks.keys())
    ]
    counts = {kind: (n, sum(name.startswith(kind) for name in images)) for kind, n in PUBLISHED.items()}
    return Plan(SOURCE, LABELS, cases, {}, counts)


def _writer(image_path: Path | None, masks: list[Path]) -> Any:
    def write(study: Path, label: Path) -> dict[str, Any]:
        if image_path is None:
            raise DataError(f"{masks[0]}: has no image; copy it from the download again")
        if not masks:
            raise DataError(f"{image_path}: has no mask; copy it from the download again")
        image = _grey(image_path)
        lesion = np.zeros(image.shape, bool)
        for path in masks:
            mask = _grey(path)
            if mask.shape != image.shape:
                raise DataError(f"{path}: has the shape {mask.shape}, its image {image.shape}")
            lesion |= mask > 0
        kind = image_path.parent.name
        if lesion.any() == (kind == "normal"):
            raise DataError(
                f"{masks[0]}: {'shows a lesion' if kind == 'normal' else 'is empty'}, but is {kind}"
            )
        write_picture(study, image)
        write_picture(label, lesion.astype(np.uint8))
        return {"kind": kind, "masks": len(masks)}

    return write


def _grey(path: Path) -> np.ndarray:
    """Read a picture in 8-bit grey (H, W), without transparency. Raises DataError."""
    pixels = read_picture(path)
    if pixels.dtype == bool or pixels.ndim == 2:
        return pixels.astype(np.uint8)
    return np.asarray(Image.fromarray(pixels[..., :3]).convert("L"))


def main(
    source: Annotated[
        Path, typer.Option(help="The unpacked Dataset_BUSI_with_GT", exists=True, file_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for studies/, labels/ and manifest.json")],
) -> None:
    """Write BUSI's images in grey, with one label each: lesion 1."""
    run(lambda: plan(source), source, out)


if __name__ == "__main__":
    typer.run(main)
