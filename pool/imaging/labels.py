"""Reading and checking label files.

A label is a uint8 array on its image's grid, (W, H), or (W, H, D) for a volume; its values are those of the
app's `labels` ({"right lung": 1, ...}), 0 is background. Files are PNG (2-D only), NIfTI or NRRD; a
`.seg.nrrd` of 3D Slicer or OHIF with named segments is mapped by name, whatever values it uses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from typing import Any

import nrrd
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SpatialResample

from pool.imaging.images import ImageError, read_array, read_image, reason_of, refuse_detached, to_grey
from pool.imaging.names import LabelError, same_name
from pool.imaging.volumes import nrrd_affine, volume_grid

_GEOMETRY = (".nii", ".nii.gz", ".dcm")  # formats that give the position in the body


def _map_segments(data: np.ndarray, header: Mapping[str, Any], labels: Mapping[str, int]) -> np.ndarray:
    """Map a segmentation NRRD to the app's values by name: (W, H, D) or (layers, W, H, D) -> (W, H, D)."""
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
        extra_values = np.unique(layers[unnamed]).tolist()
        raise LabelError(f"the values {extra_values[:5]} belong to no named segment; name or remove them")
    return out


def _read(
    path: str | os.PathLike[str], labels: Mapping[str, int], volume: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Read the file's array with the app's values, and its affine. Raises LabelError, ImageError."""
    shaped = _to_volume if volume else to_grey
    if str(path).lower().endswith(".nrrd"):
        try:
            refuse_detached(path)
            data, header = nrrd.read(os.fspath(path))
        except Exception as error:  # pynrrd raises many kinds for a damaged file
            raise LabelError(f"{path}: cannot be read ({error}); save it again") from error
        if "Segment0_Name" in header:
            data = _map_segments(data, header, labels)
            return shaped(data, path), nrrd_affine(header) if data.ndim > 2 else read_array(path)[1]
    array, affine = read_array(path)
    return shaped(array, path), affine


def _to_volume(array: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Reduce a label file's array to (W, H, D). Raises LabelError."""
    volume = (
        array.reshape(array.shape[:3]) if array.ndim > 3 and array.size == np.prod(array.shape[:3]) else array
    )
    if volume.ndim != 3:
        raise LabelError(
            f"{path}: has shape {array.shape}, but its image is a volume; save one value per voxel, as NIfTI "
            "or NRRD"
        )
    return volume


def _to_grid(
    label: np.ndarray, affine: np.ndarray, path: str | os.PathLike[str], image: str | os.PathLike[str]
) -> np.ndarray:
    """Bring the label to its image's grid: unchanged, or resampled where both files carry geometry."""
    shape, target = grid_of(image)
    geometry = _has_geometry(path) and _has_geometry(image)
    if label.shape == shape and (not geometry or np.allclose(affine, target, atol=1e-3)):
        return label
    if not geometry and (whole := _uncropped(label, path, shape)) is not None:
        return whole
    if not geometry:
        raise LabelError(
            f"the label is {_size(label.shape)}, its image {_size(shape)}; draw it on the image's own grid"
        )
    flat = label.ndim == 2
    source = torch.from_numpy(label.astype(np.float32))[None]
    moved = SpatialResample(mode="nearest", padding_mode="zeros")(
        MetaTensor(source[..., None] if flat else source, affine=torch.from_numpy(affine)),
        dst_affine=torch.from_numpy(target),
        spatial_size=(*shape, 1) if flat else shape,
    )
    out = np.asarray(moved)[0, ..., 0] if flat else np.asarray(moved)[0]
    if label.any() and not out.any():
        raise LabelError("the label lies outside its image; draw it on the image itself")
    return out


def _uncropped(label: np.ndarray, path: str | os.PathLike[str], shape: tuple[int, ...]) -> np.ndarray | None:
    """Pad a label that 3D Slicer cropped to its segments; None when its header gives no offset."""
    if not str(path).lower().endswith(".nrrd"):
        return None
    offset = str(nrrd.read_header(os.fspath(path)).get("Segmentation_ReferenceImageExtentOffset", ""))
    if not re.fullmatch(r"\d+ \d+ \d+", offset):
        return None
    start = [int(n) for n in offset.split()][: label.ndim]
    out = np.zeros(shape, label.dtype)
    part = out[tuple(slice(n, n + size) for n, size in zip(start, label.shape, strict=True))]
    if part.shape != label.shape:
        return None
    part[...] = label
    return out


def _has_geometry(path: str | os.PathLike[str]) -> bool:
    """Return whether a file gives its position in the body, which a NRRD may omit."""
    if str(path).lower().endswith(".nrrd"):
        return bool(nrrd.read_header(os.fspath(path)).keys() & {"space directions", "spacings"})
    return str(path).lower().endswith(_GEOMETRY) or os.path.isdir(path)


def grid_of(image: str | os.PathLike[str]) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape and affine of an image; of a volume only the header is read. Raises ImageError."""
    if volume := volume_grid(image):
        return volume
    grey, affine = read_image(image)
    return grey.shape, affine


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + (" pixels" if len(shape) == 2 else " voxels")


def read_label(
    path: str | os.PathLike[str], labels: Mapping[str, int], image: str | os.PathLike[str]
) -> np.ndarray:
    """Read a label file as (W, H) or (W, H, D) uint8 on the grid of `image`, values as in `labels`.

    Raises LabelError: unreadable, on another grid, or with values or segments that the app does not have.
    """
    try:
        array, affine = _read(path, labels, volume=volume_grid(image) is not None)
        array = _to_grid(array, affine, path, image)
    except ImageError as error:
        raise LabelError(str(error)) from error
    except LabelError:
        raise
    except Exception as error:  # header fields, types and shapes each raise their own kind
        raise LabelError(f"{path}: cannot be read ({reason_of(error)}); save it again") from error
    unknown = array[~np.isin(array, [0, *labels.values()])]
    if unknown.size:
        allowed = ", ".join(f"{value} {name}" for name, value in labels.items())
        values = np.unique(unknown)[:5].tolist()
        raise LabelError(f"the label has the values {values}, but this app knows 0 background, {allowed}")
    return array.astype(np.uint8)


def check_label(
    path: str | os.PathLike[str],
    labels: Mapping[str, int],
    image: str | os.PathLike[str],
    allow_empty: bool = False,
) -> np.ndarray:
    """Read a label, and refuse an empty one unless `allow_empty`. Raises LabelError."""
    array = read_label(path, labels, image)
    if not array.any() and not allow_empty:
        raise LabelError(
            "the label is empty; if there is nothing to label, save it with the parameter 'empty': true"
        )
    return array


class ReadLabeld(MapTransform):
    """MONAI transform: read a path as a MetaTensor (1, W, H[, D]) on the grid of the dictionary's image.

    The label of a volume gets the image's affine.
    """

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
            label, grid = read_label(out[key], self.labels, image), volume_grid(image)
            out[key] = MetaTensor(
                torch.from_numpy(label.copy())[None],
                affine=torch.from_numpy(grid[1]) if grid else None,
                meta={"filename_or_obj": os.fspath(out[key])},
            )
        return out
