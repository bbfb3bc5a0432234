"""The Montgomery County chest X-rays: 138 radiographs with masks of the right and left lung.

    python -m benchmarks.datasets.montgomery --source MontgomerySet --out pools/montgomery

Published layout: `CXR_png/MCUCXR_0001_0.png` and, under the same name, `ManualMask/leftMask/` and
`ManualMask/rightMask/` (Jaeger et al., 2014). Images are 4020 x 4892 or 4892 x 4020 pixels of 0.0875 mm. They
are written as NIfTI with pixels unchanged: it carries the spacing, so distances can be given in mm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.datasets.files import (
    LUNGS,
    check_folder,
    join_lungs,
    picture_affine,
    read_mask,
    read_picture,
    write_nifti,
)
from benchmarks.datasets.preparing import Case, DataError, Plan, Source, run

SOURCE = Source(
    name="Montgomery County chest X-rays",
    url="https://openi.nlm.nih.gov/imgs/collections/NLM-MontgomeryCXRSet.zip",
    licence="no named licence: made available by the U.S. National Library of Medicine for research, with "
    "the request to cite both articles and the Montgomery County's Department of Health and Human Services",
    citation=[
        "S. Jaeger et al., Two public chest X-ray datasets for computer-aided screening of pulmonary "
        "diseases, Quant Imaging Med Surg 4(6), 2014, doi:10.3978/j.issn.2223-4292.2014.11.20",
        "S. Candemir et al., Lung segmentation in chest radiographs using anatomical atlases with nonrigid "
        "registration, IEEE Trans Med Imaging 33(2), 2014, doi:10.1109/TMI.2013.2290491",
    ],
)
PUBLISHED = 138
SPACING = 0.0875  # mm, both axes
SIZES = {(4020, 4892), (4892, 4020)}


def plan(source: Path, spacing: float | None = None) -> Plan:
    """List the cases to write.

    :param spacing: mm per pixel of a resized copy; None: 0.0875, and sizes other than the published ones are
        refused
    Raises ValueError if `source` is not laid out as published.
    """
    folders = "CXR_png", "ManualMask/leftMask", "ManualMask/rightMask"
    check_folder(source, *folders)
    names = [sorted(path.stem for path in (source / folder).glob("[!.]*.png")) for folder in folders]
    cases = [Case(name, _writer(source, name, spacing)) for name in sorted(set().union(*names))]
    kinds = "images", "left masks", "right masks"
    counts = {kind: (PUBLISHED, len(stems)) for kind, stems in zip(kinds, names, strict=True)}
    return Plan(SOURCE, LUNGS, cases, {"spacing_mm": spacing or SPACING}, counts)


def _writer(source: Path, name: str, spacing: float | None) -> Any:
    def write(study: Path, label: Path) -> dict[str, Any]:
        path = source / "CXR_png" / f"{name}.png"
        image = read_picture(path)
        if image.ndim != 2:
            raise DataError(f"{path}: has colours; the published radiographs are grey")
        if spacing is None and image.shape not in SIZES:
            raise DataError(
                f"{path}: is {image.shape[1]} x {image.shape[0]} pixels, not a published size, so "
                "its spacing is unknown; give --spacing, or use the original"
            )
        left, right = (
            read_mask(source / "ManualMask" / side / f"{name}.png", image.shape)
            for side in ("leftMask", "rightMask")
        )
        joined = join_lungs(right, left, path)
        affine = picture_affine(spacing or SPACING)
        write_nifti(study, image.T[..., None], affine)
        write_nifti(label, joined.T[..., None], affine)
        return {
            "patient": name.rsplit("_", 1)[0],
            "tuberculosis": name.endswith("_1"),
            "overlap_pixels": int(np.count_nonzero(left & right)),
        }

    return write


def main(
    source: Annotated[Path, typer.Option(help="The unpacked MontgomerySet", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for studies/, labels/ and manifest.json")],
    spacing: Annotated[
        float | None, typer.Option(help="mm per pixel, for a resized copy of the images", min=1e-6)
    ] = None,
) -> None:
    """Join the left and right masks of the Montgomery set: right lung 1, left lung 2."""
    run(lambda: plan(source, spacing), source, out)


if __name__ == "__main__":
    typer.run(main)
