"""Reading and checking label files.

A label is a uint8 array on its image's grid, (W, H), or (W, H, D) for a volume; its values are those of the
app's `labels` ({"right lung": 1, ...}), 0 is background. Files are PNG (2-D only), NIfTI or NRRD; a
`.seg.nrrd` of 3D Slicer or OHIF with named segments is mapped by name, whatever values it uses.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

import nrrd
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from pool.imaging.errors import LabelError, reading_label
from pool.imaging.geometry import read_header
from pool.imaging.images import not_flat, read_array
from pool.imaging.label_grid import on_images_grid, refuse_size, size_text
from pool.imaging.names import EmptyLabel, UnknownValues
from pool.imaging.segments import Notes, count_segments, map_segments
from pool.imaging.volumes import volume_grid

_MASK = 255  # white, in masks that other programs write


def _read(
    path: str | os.PathLike[str], labels: Mapping[str, int], notes: Notes
) -> tuple[np.ndarray, np.ndarray]:
    """Read a file's array (W, H, D) with the app's values, and its affine. Raises LabelError, ImageError."""
    array, affine = read_array(path, stored=True)
    array = array if array.ndim > 2 else array[..., None]
    if np.iscomplexobj(array):
        if count := int(np.count_nonzero(array.imag)):
            notes.append(f"{count} voxels have an imaginary part, which is dropped")
        array = array.real
    if str(path).lower().endswith(".nrrd"):
        header = nrrd.read_header(os.fspath(path))
        if count_segments(header):
            array = map_segments(array, header, labels, notes)
    if array.size != np.prod(array.shape[:3]):
        raise LabelError(
            f"{path}: has shape {array.shape}; save one value per voxel, as NIfTI or NRRD, or as PNG in grey"
        )
    return array.reshape(array.shape[:3]), affine


def grid_of(image: str | os.PathLike[str]) -> tuple[tuple[int, ...], np.ndarray]:
    """Return shape, (W, H) or (W, H, D), and affine (4, 4) of an image by its header. Raises ImageError."""
    if volume := volume_grid(image):
        return volume
    header = read_header(image)
    if len(header.shape) > 2 and header.shape[2] > 1:
        raise not_flat(header.shape, image)
    return header.shape[:2], header.affine


def read_label(
    path: str | os.PathLike[str],
    labels: Mapping[str, int],
    image: str | os.PathLike[str],
    notes: Notes | None = None,
) -> np.ndarray:
    """Read a label file as (W, H) or (W, H, D) uint8 on the grid of `image`, values as in `labels`.

    :param notes: gets a sentence on everything that is not kept as the file has it

    Raises LabelError: unreadable, on another grid, with voxels outside its image, or with values or segments
    that the app does not have.
    """
    with reading_label(path):
        shape, target = grid_of(image)
        declared = read_header(path).shape
        if len(shape) == 3 and len(declared) < 3:
            raise LabelError(
                f"{path}: is {size_text(declared)}, but its image is a volume; save it as NIfTI or NRRD"
            )
        refuse_size(declared, shape)
        notes = [] if notes is None else notes
        array, affine = _read(path, labels, notes)
        array = _known_values(array, labels, notes)
        array = on_images_grid(array, affine, path, image, shape, target)
    return array.astype(np.uint8)


def _known_values(array: np.ndarray, labels: Mapping[str, int], notes: Notes) -> np.ndarray:
    """Return a label with values of the app only; a 0/255 mask shows the one structure of an app.

    Raises UnknownValues.
    """
    unknown = np.unique(array[~np.isin(array, [0, *labels.values()])])
    if not unknown.size:
        return array
    if len(labels) == 1 and unknown.tolist() == [_MASK] and np.isin(array, [0, _MASK]).all():
        (name, value), *_ = labels.items()
        notes.append(f"the value {_MASK} is read as {value} {name}")
        return (array == _MASK) * value
    allowed = ", ".join(f"{value} {name}" for name, value in labels.items())
    values = unknown[:5].tolist()
    raise UnknownValues(
        f"the label has the values {values}, but this app knows 0 background, {allowed}", values
    )


def check_label(
    path: str | os.PathLike[str],
    labels: Mapping[str, int],
    image: str | os.PathLike[str],
    allow_empty: bool = False,
    notes: Notes | None = None,
) -> np.ndarray:
    """Read a label as `read_label`, and refuse an empty one unless `allow_empty`. Raises LabelError."""
    array = read_label(path, labels, image, notes)
    if not array.any() and not allow_empty:
        raise EmptyLabel(
            "the label is empty; if there is nothing to label, save it again within ten minutes, or with the "
            "parameter 'empty': true (a server with --conf empty_labels accept keeps it at once)"
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
