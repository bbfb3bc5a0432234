"""Writing labels with names, colours and geometry."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
from PIL import Image

from pool.imaging.errors import LabelError
from pool.imaging.geometry import copy_forms, lps
from pool.imaging.names import LABEL_EXTENSIONS as EXTENSIONS

# colours of structures to which the app gives none, by their position
_PALETTE = (
    [128, 174, 128],
    [216, 101, 79],
    [111, 184, 210],
    [241, 214, 145],
    [177, 122, 101],
    [183, 156, 220],
    [144, 238, 144],
    [255, 181, 197],
)


def color_of(name: str, place: int, colors: Mapping[str, list[int]]) -> list[int]:
    """Return the RGB colour of a structure: the app's, or one chosen by its position."""
    return colors.get(name) or _PALETTE[place % len(_PALETTE)]


def _nrrd_header(
    affine: np.ndarray, labels: Mapping[str, int], colors: Mapping[str, list[int]]
) -> dict[str, Any]:
    """Make the header of a one-layer segmentation NRRD, as 3D Slicer writes it (left-posterior-superior)."""
    in_lps = lps(affine)
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "kinds": ["domain"] * 3,
        "space directions": in_lps[:3, :3].T,
        "space origin": in_lps[:3, 3],
    }
    for i, (name, value) in enumerate(labels.items()):
        rgb = color_of(name, i, colors)
        header |= {
            f"Segment{i}_ID": f"Segment_{value}",
            f"Segment{i}_Name": name,
            f"Segment{i}_LabelValue": str(value),
            f"Segment{i}_Layer": "0",
            f"Segment{i}_Color": " ".join(f"{c / 255:.4f}" for c in rgb),
        }
    return header


def _nifti(volume: np.ndarray, affine: np.ndarray, image: str | os.PathLike[str]) -> nibabel.Nifti1Image:
    made = nibabel.Nifti1Image(volume, None)
    if image and copy_forms(made.header, image):  # afterwards: the image would correct odd codes
        return made
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise LabelError("its axes are not at right angles, as NIfTI needs them; ask for .nrrd")
    return nibabel.Nifti1Image(volume, affine)


def write_label(
    path: str | os.PathLike[str],
    label: np.ndarray,
    affine: np.ndarray,
    labels: Mapping[str, int],
    colors: Mapping[str, list[int]],
    image: str | os.PathLike[str] = "",
) -> None:
    """Write a (W, H) or (W, H, D) label in the format given by the file name.

    NRRD carries segment names and colours; PNG has pixel values only; NIfTI and NRRD carry `affine`.

    :param image: path of the label's image; where both are NIfTI, its forms and their codes are kept

    Raises LabelError for any other format, for a volume as PNG, and for axes that NIfTI cannot hold.
    """
    name, array = Path(path).name.lower(), np.ascontiguousarray(label.astype(np.uint8))
    volume = array if array.ndim == 3 else array[..., None]
    if name.endswith(".png") and array.ndim == 2:
        Image.fromarray(array.T.copy()).save(path)
    elif name.endswith((".nii", ".nii.gz")):
        nibabel.save(_nifti(volume, affine, image), os.fspath(path))
    elif name.endswith(".nrrd"):
        nrrd.write(os.fspath(path), volume, header=_nrrd_header(affine, labels, colors))
    else:
        allowed = EXTENSIONS if array.ndim == 2 else EXTENSIONS[1:]
        raise LabelError(
            f"a label of this image cannot be written as {Path(path).suffix!r}; "
            f"ask for one of {', '.join(allowed)}"
        )
