"""Label files: reading with checks, and writing predictions with names and colours.

A label is a (W, H) uint8 array on its image's grid; its values are those of the app's `labels`
({"right lung": 1, ...}), 0 is background. Files are PNG, NIfTI or NRRD; a `.seg.nrrd` of 3D Slicer or OHIF
with named segments is mapped by the names, whatever values it uses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SpatialResample
from PIL import Image

from pool.images import ImageError, read_array, read_image, to_grey

EXTENSIONS = (".png", ".nii.gz", ".nii", ".nrrd")
_GEOMETRY = (".nii", ".nii.gz", ".nrrd", ".dcm")  # formats that say where in the body a pixel lies


class LabelError(ValueError):
    """A label that does not fit its image; the text says what is wrong and what to do."""


def same_name(name: str) -> str:
    """Segment names are compared without case, spaces, underscores and hyphens."""
    return re.sub(r"[\s_\-]+", "", name).lower()


def _map_segments(data: np.ndarray, header: Mapping[str, Any], labels: Mapping[str, int]) -> np.ndarray:
    """Values of a segmentation NRRD by segment name: (W, H, 1) or (layers, W, H, 1) -> (W, H, 1)."""
    layers = data if data.ndim == 4 else data[None]
    values = {same_name(name): value for name, value in labels.items()}
    out, unnamed = np.zeros(layers.shape[1:], dtype=np.uint8), layers != 0
    count = sum(1 for key in header if re.fullmatch(r"Segment\d+_Name", key))
    for i in range(count):
        name = header[f"Segment{i}_Name"]
        layer = int(header.get(f"Segment{i}_Layer", i if data.ndim == 4 else 0))
        mask = layers[layer] == int(header.get(f"Segment{i}_LabelValue", 1))
        if not mask.any():
            continue
        if same_name(name) not in values:
            raise LabelError(f"segment {name!r} is not one of {', '.join(labels)}; rename or remove it")
        out[mask] = values[same_name(name)]
        unnamed[layer] &= ~mask
    if unnamed.any():
        found = np.unique(layers[unnamed]).tolist()
        raise LabelError(f"the values {found[:5]} belong to no named segment; name or remove them")
    return out


def _layers_affine(header: Mapping[str, Any]) -> np.ndarray:
    """The affine (4, 4), into right-anterior-superior, of a NRRD whose first axis is layers."""
    affine = np.eye(4)
    if "space directions" in header:
        affine[:3, :3] = np.asarray(header["space directions"], dtype=float)[1:].T
        affine[:3, 3] = header.get("space origin", np.zeros(3))
    if str(header.get("space", "")).lower() in ("lps", "left-posterior-superior"):
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return affine


def _read(path: str | os.PathLike[str], labels: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The file's plane (W, H) with the app's values, and its affine. Raises LabelError, ImageError."""
    if str(path).lower().endswith(".nrrd"):
        try:
            data, header = nrrd.read(os.fspath(path))
        except Exception as error:  # pynrrd raises many kinds for a damaged file
            raise LabelError(f"{path}: cannot be read ({error}); save it again") from error
        if "Segment0_Name" in header:
            array = _map_segments(data, header, labels)
            affine = read_array(path)[1] if data.ndim < 4 else _layers_affine(header)
            return to_grey(array, path), affine
    array, affine = read_array(path)
    return to_grey(array, path), affine


def _to_grid(
    label: np.ndarray, affine: np.ndarray, path: str | os.PathLike[str], image: str | os.PathLike[str]
) -> np.ndarray:
    """The label on its image's grid: as it is, or resampled where both files carry geometry."""
    grey, target = read_image(image)
    geometry = all(str(p).lower().endswith(_GEOMETRY) or os.path.isdir(p) for p in (path, image))
    if label.shape == grey.shape and (not geometry or np.allclose(affine, target, atol=1e-3)):
        return label
    if not geometry:
        raise LabelError(
            f"the label is {label.shape[0]} x {label.shape[1]} pixels, its image "
            f"{grey.shape[0]} x {grey.shape[1]}; draw it on the image's own grid"
        )
    source = MetaTensor(
        torch.from_numpy(label.astype(np.float32))[None, ..., None], affine=torch.from_numpy(affine)
    )
    moved = SpatialResample(mode="nearest", padding_mode="zeros")(
        source, dst_affine=torch.from_numpy(target), spatial_size=(*grey.shape, 1)
    )
    return np.asarray(moved)[0, ..., 0]


def read_label(
    path: str | os.PathLike[str], labels: Mapping[str, int], image: str | os.PathLike[str]
) -> np.ndarray:
    """A label file as (W, H) uint8 on the grid of `image`, values as in `labels`.

    Raises LabelError: unreadable, another grid, or values and segments that the app does not know.
    """
    try:
        plane, affine = _read(path, labels)
        plane = _to_grid(plane, affine, path, image)
    except ImageError as error:
        raise LabelError(str(error)) from error
    unknown = sorted(set(np.unique(plane).tolist()) - {0, *labels.values()})
    if unknown:
        known = ", ".join(f"{value} {name}" for name, value in labels.items())
        raise LabelError(f"the label has the values {unknown[:5]}, but this app knows 0 background, {known}")
    return plane.astype(np.uint8)


def check_label(
    path: str | os.PathLike[str],
    labels: Mapping[str, int],
    image: str | os.PathLike[str],
    allow_empty: bool = False,
) -> np.ndarray:
    """`read_label`, refusing what training could not use. Raises LabelError."""
    plane = read_label(path, labels, image)
    if not plane.any() and not allow_empty:
        raise LabelError(
            "the label is empty; if nothing is to be seen, save it with the parameter 'empty': true"
        )
    return plane


class ReadLabeld(MapTransform):
    """MONAI transform: a path becomes a MetaTensor (1, W, H) on the grid of the dictionary's image."""

    def __init__(
        self,
        keys: KeysCollection,
        labels: Mapping[str, int],
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.labels, self.image_key = dict(labels), image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        image = out[self.image_key]
        image = image.meta["filename_or_obj"] if isinstance(image, MetaTensor) else image
        for key in self.key_iterator(out):
            plane = read_label(out[key], self.labels, image)
            out[key] = MetaTensor(
                torch.from_numpy(plane.copy())[None], meta={"filename_or_obj": os.fspath(out[key])}
            )
        return out


def _nrrd_header(
    affine: np.ndarray, labels: Mapping[str, int], colors: Mapping[str, list[int]]
) -> dict[str, Any]:
    """Header of a one-layer segmentation NRRD, as 3D Slicer writes it (left-posterior-superior)."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    header: dict[str, Any] = {
        "space": "left-posterior-superior",
        "kinds": ["domain"] * 3,
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
    }
    for i, (name, value) in enumerate(labels.items()):
        rgb = colors.get(name, [255, 255, 255])
        header |= {
            f"Segment{i}_ID": f"Segment_{value}",
            f"Segment{i}_Name": name,
            f"Segment{i}_LabelValue": str(value),
            f"Segment{i}_Layer": "0",
            f"Segment{i}_Color": " ".join(f"{c / 255:.4f}" for c in rgb),
        }
    return header


def write_label(
    path: str | os.PathLike[str],
    label: np.ndarray,
    affine: np.ndarray,
    labels: Mapping[str, int],
    colors: Mapping[str, list[int]],
) -> None:
    """Write a (W, H) label as the format that the file name asks for. Raises LabelError for any other.

    NRRD carries segment names and colours; PNG has pixel values only; NIfTI and NRRD carry `affine`.
    """
    name, plane = Path(path).name.lower(), np.ascontiguousarray(label.astype(np.uint8))
    if name.endswith(".png"):
        Image.fromarray(plane.T.copy()).save(path)
    elif name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(plane[..., None], affine), os.fspath(path))
    elif name.endswith(".nrrd"):
        nrrd.write(os.fspath(path), plane[..., None], header=_nrrd_header(affine, labels, colors))
    else:
        raise LabelError(
            f"a label cannot be written as {Path(path).suffix!r}; ask for one of {', '.join(EXTENSIONS)}"
        )
