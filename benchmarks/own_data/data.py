"""Check a user's own images and masks before anything runs: their kind, their structures, and errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
from monai.data.utils import affine_to_spacing
from tqdm import tqdm

from benchmarks.experiments.simulate import find_images
from pool.files import replacing
from pool.groups import read_groups
from pool.imaging.images import EXTENSIONS, ImageError, image_id, read_array, read_image
from pool.imaging.label_writer import write_label
from pool.imaging.labels import LabelError, grid_of, read_label
from pool.imaging.segments import count_segments
from pool.imaging.volumes import read_volume, volume_grid

MAX_STRUCTURES = 40  # more values than this are grey levels
_MAX_SIDE = 96  # voxels along a volume's longest side in the reduced protocol
_MAX_AIR = -200.0  # a median minimum below this means Hounsfield units


class DataError(ValueError):
    """Data that cannot be used; the text names the files and says what to do."""


@dataclass(frozen=True)
class Own:
    """Facts about the user's data.

    :param images: {image id: file}
    :param masks: {image id: file}
    :param structures: {name: value in the masks}
    :param everywhere: every mask has every structure
    :param overrides: overrides of the app that the images require
    """

    images: dict[str, Path]
    masks: dict[str, Path]
    structures: dict[str, int]
    everywhere: bool
    volumes: bool
    overrides: dict[str, Any]

    @property
    def app(self) -> str:
        """The app; for pictures where structures may be absent, the one whose Dice leaves those out."""
        if self.volumes:
            return "volumes"
        return "cxr_lungs" if self.everywhere else "brain_mri"

    @property
    def labels(self) -> dict[str, int]:
        """The structures with the values that training needs: 1, 2, ..."""
        return {name: place for place, name in enumerate(self.structures, start=1)}


def some(names: Sequence[str]) -> str:
    """Name the first items of a list, and count the rest."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def look(studies: Path, labels: Path, names: Mapping[str, int]) -> Own:
    """Read every image and mask once. Raises DataError for files that cannot be used.

    :param names: the user's names, {structure: value in the masks}
    """
    files = find_images(studies)
    images = {image_id(path.name): path for path in files}
    if repeated := [image for image, count in Counter(image_id(p.name) for p in files).items() if count > 1]:
        raise DataError(
            f"{studies} has two files for {some(repeated)}: names without the extension must be unique; "
            "rename or remove one"
        )
    mask_files = [path for path in labels.iterdir() if path.name.lower().endswith(EXTENSIONS)]
    masks = {image_id(path.name): path for path in sorted(mask_files)}
    if unmasked := [path.name for image, path in images.items() if image not in masks]:
        raise DataError(
            f"{len(unmasked)} of {len(images)} images have no mask in {labels}: {some(unmasked)}. A mask has "
            "its image's name; move unlabelled images to another folder"
        )
    masks = {image: masks[image] for image in images}
    volumes = _are_volumes(images)
    errors, values_of_masks = [], list[set[int]]()
    darkest, grids = list[float](), []
    for image, path in tqdm(images.items(), desc="reading", unit="image", leave=False):
        try:
            pixels = read_volume(path)[0] if volumes else read_image(path)[0]
            darkest.append(float(pixels.min()))
            grids.append((len(pixels) if volumes else 1, *grid_of(path)))
            values_of_masks.append(_values_of(masks[image], path))
        except (ImageError, LabelError) as error:
            errors.append(str(error))
    if errors:
        raise DataError(f"{len(errors)} files cannot be used:\n" + "\n".join(errors[:10]))
    structures = _name_structures(values_of_masks, names)
    everywhere = all(values == set(structures.values()) for values in values_of_masks)
    return Own(images, masks, structures, everywhere, volumes, _overrides(grids, darkest) if volumes else {})


def _are_volumes(images: Mapping[str, Path]) -> bool:
    kinds = dict[str, bool]()
    for image, path in images.items():
        with suppress(ImageError):  # named when all are read
            kinds[image] = volume_grid(path) is not None
    if len(set(kinds.values())) > 1:
        odd = Counter(kinds.values()).most_common()[-1][0]
        raise DataError(
            f"pictures and volumes are mixed; {'volumes' if odd else 'pictures'} are: "
            f"{some([images[image].name for image, kind in kinds.items() if kind == odd])}"
        )
    return next(iter(kinds.values()), False)


def _values_of(mask: Path, image: Path) -> set[int]:
    """Return the values of a mask except 0. Raises LabelError, ImageError."""
    if mask.name.lower().endswith(".nrrd") and count_segments(nrrd.read_header(str(mask))):
        raise LabelError(
            f"{mask}: has named segments; export it as a label map (.nii.gz) with one value per structure"
        )
    values = np.unique(read_array(mask)[0])
    if not np.array_equal(values, values.astype(np.uint8)) or len(values) > MAX_STRUCTURES + 1:
        raise LabelError(
            f"{mask}: has {len(values)} values from {values[0]:g} to {values[-1]:g}; a mask has 0 for "
            f"background and at most {MAX_STRUCTURES} whole numbers up to 255"
        )
    present = {int(value) for value in values if value}
    read_label(mask, {str(value): value for value in present}, image)  # check that it fits its image
    return present


def _name_structures(values_of_masks: Sequence[set[int]], names: Mapping[str, int]) -> dict[str, int]:
    """Return {structure: value} for the values in the masks. Raises DataError."""
    values = sorted(set().union(*values_of_masks))
    if not values:
        raise DataError("all masks are empty: there is nothing to learn from")
    if unknown := [f"{name}={value}" for name, value in names.items() if value not in values]:
        raise DataError(f"--label {unknown[0]}: no mask has that value; there are {values}")
    name_of = {value: name for name, value in names.items()}
    return {name_of.get(value, f"structure {value}"): value for value in values}


def _overrides(
    grids: Sequence[tuple[int, tuple[int, ...], np.ndarray]], darkest: Sequence[float]
) -> dict[str, Any]:
    """Return the overrides of the app for volumes; long volumes get larger voxels. Raises DataError."""
    channels = sorted({count for count, _, _ in grids})
    if len(channels) > 1:
        raise DataError(f"some volumes have {channels[0]} channels, others {channels[-1]}: keep one kind")
    spacings = np.array([affine_to_spacing(affine) for _, _, affine in grids])
    extent = np.median(spacings * [shape for _, shape, _ in grids], axis=0)
    own, coarse = np.median(spacings, axis=0), float(extent.max()) / _MAX_SIDE
    fine = bool((extent / own).max() <= _MAX_SIDE)
    return {
        "in_channels": channels[0],
        "modality_rule": "ct" if np.median(darkest) < _MAX_AIR else "mr",
        "spacing": [] if fine else [round(float(max(step, coarse)), 3) for step in own],
    }


def write_masks(own: Own, folder: Path) -> None:
    """Write the masks on their images' grids, values 1, 2, ..., as training needs. Raises DataError."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(path.parent.samefile(folder) for path in (*own.images.values(), *own.masks.values())):
        raise DataError(f"{folder} is for rewritten masks, but contains your files: choose another --out")
    for image, path in own.images.items():
        label, grid = read_label(own.masks[image], own.structures, path), volume_grid(path)
        out = np.zeros_like(label)
        for name, value in own.labels.items():
            out[label == own.structures[name]] = value
        file = folder / f"{image}{'.nii.gz' if grid else '.png'}"
        with replacing(file) as part:  # another running command may be reading it
            write_label(part, out, grid[1] if grid else np.eye(4), own.labels, {})


def check_groups(own: Own, text: str) -> None:
    """Raise DataError if `--groups` is invalid, misses images, or makes too few groups."""
    try:
        groups = read_groups(text)
    except ValueError as error:
        raise DataError(f"--groups {text}: {error}") from None
    rows = groups.rows(list(own.images))
    alone = [i for i, row in zip(own.images, rows, strict=True) if row == f"image:{i}"] if rows else []
    if rows is None or alone:
        raise DataError(
            f"--groups {text}: has no group for {some(alone or list(own.images))}; every image needs a group"
        )
    if len(set(rows)) < 5:
        raise DataError(
            f"--groups {text}: makes {len(set(rows))} groups; a fifth is held out, so at least 5 are needed"
        )
