"""Axial slices of labelled volumes as pictures: a 2-D pool from a 3-D one.

    python -m benchmarks.datasets.slices --images hippocampus/images --labels hippocampus/labels \\
        --out pools/hippocampus_slices --per-volume 6

Slices lie evenly between both ends of a volume, so that some show no structure, as in a scan. A picture is
the slice in 8 bits, from the volume's darkest to its 99.5th percentile. Its name, `<volume>_s012.png`, ends
with the slice's number, so that `--conf groups '^(.+)_s\\d+$'` keeps a patient's slices together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from benchmarks.datasets.files import read_nifti
from benchmarks.datasets.preparing import Case, DataError, Plan, Source, run

_WHITE_PERCENTILE = 99.5  # of the volume's intensities


def plan(images: Path, labels: Path, per_volume: int) -> Plan:
    """List the slices to write. Raises ValueError if an image has no label, or there are no images."""
    files = sorted(images.glob("[!.]*.nii.gz"))
    unlabelled = [file.name for file in files if not (labels / file.name).is_file()]
    if not files or unlabelled:
        raise ValueError(
            f"{labels} has no {unlabelled[0]} ({len(unlabelled)} of {len(files)} volumes)"
            if unlabelled
            else f"{images} has no volumes (.nii.gz)"
        )
    cases, values = [], set()
    for file in files:
        mask = np.asanyarray(read_nifti(labels / file.name).dataobj)
        values |= {int(value) for value in np.unique(mask)}
        for at in np.unique(np.linspace(0, mask.shape[2] - 1, per_volume).round().astype(int)):
            name = f"{file.name.removesuffix('.nii.gz')}_s{at:03d}"
            cases.append(Case(name, _writer(file, labels / file.name, int(at)), ".png"))
    source = Source(f"slices of {images.name}", "", "that of the volumes", [])
    structures = {f"structure {value}": value for value in sorted(values - {0})}
    return Plan(source, structures, cases, {"per_volume": per_volume}, {})


def _writer(image_path: Path, label_path: Path, at: int) -> Any:
    def write(study: Path, label: Path) -> dict[str, Any]:
        image, mask = (np.asanyarray(read_nifti(path).dataobj) for path in (image_path, label_path))
        if image.shape != mask.shape:
            raise DataError(f"{label_path}: has the shape {mask.shape}, its image {image.shape}")
        low, high = float(image.min()), float(np.percentile(image, _WHITE_PERCENTILE))
        if high <= low:
            raise DataError(f"{image_path}: has only one value")
        grey = np.clip((image[..., at] - low) / (high - low), 0, 1)
        for path, array in ((study, np.rint(grey * 255)), (label, mask[..., at])):
            Image.fromarray(np.flipud(array.T).astype(np.uint8)).save(path, format="PNG")
        return {"volume": image_path.name, "slice": at, "pixels": int((mask[..., at] > 0).sum())}

    return write


def main(
    images: Annotated[Path, typer.Option(help="Folder of volumes", exists=True, file_okay=False)],
    labels: Annotated[Path, typer.Option(help="Folder of their labels, with the same names", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder for studies/, labels/ and manifest.json")],
    per_volume: Annotated[int, typer.Option(help="Slices per volume; all, if it has fewer", min=1)] = 6,
) -> None:
    """Write slices of labelled volumes, with their labels, as pictures."""
    run(lambda: plan(images, labels, per_volume), images, out)


if __name__ == "__main__":
    typer.run(main)
