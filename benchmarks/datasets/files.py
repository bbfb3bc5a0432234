"""Read published files and write the formats the server expects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from benchmarks.datasets.preparing import DataError

LUNGS = {"right lung": 1, "left lung": 2}  # as in the apps


def check_folder(source: Path, *folders: str) -> None:
    """Raise ValueError if one of the folders is missing from `source`."""
    missing = [folder for folder in folders if not (source / folder).is_dir()]
    if missing:
        raise ValueError(
            f"{source} has no folder {', '.join(missing)}: --source is the folder that the "
            "download unpacks to"
        )


def check_file(path: Path) -> None:
    """Raise DataError if a file is missing or empty."""
    if not path.is_file():
        raise DataError(f"{path}: is missing; copy it from the download again")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); copy it from the download again")


def read_picture(path: Path) -> np.ndarray:
    """Read a picture unchanged: grey (H, W) or colour (H, W, C). Raises DataError."""
    check_file(path)
    try:
        with Image.open(path) as picture:
            return np.array(picture)
    except Exception as error:  # Pillow raises many types for a damaged file
        raise DataError(f"{path}: cannot be read ({error}); copy it from the download again") from error


def read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read a picture of zeros and another value as bool (H, W). Raises DataError, also on a wrong size."""
    mask = read_picture(path)
    if mask.ndim != 2:
        raise DataError(f"{path}: is not a mask: it has colours")
    if mask.shape != shape:
        raise DataError(f"{path}: has {_size(mask.shape)} pixels, its image {_size(shape)}")
    if not mask.any():
        raise DataError(f"{path}: is empty, no pixel belongs to the structure")
    return mask > 0


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def join_lungs(right: np.ndarray, left: np.ndarray, path: Path) -> np.ndarray:
    """Join two masks (H, W) into one label with the values of LUNGS; the left lung wins where they overlap.

    Raises DataError if the right lung is not on the picture's left, where a frontal radiograph shows it: the
    masks are swapped, or the picture is mirrored.
    """
    columns = np.arange(right.shape[1])
    if np.average(columns, weights=right.sum(0)) >= np.average(columns, weights=left.sum(0)):
        raise DataError(f"{path}: its right lung lies right of its left one; are the masks swapped?")
    label = np.zeros(right.shape, np.uint8)
    label[right], label[left] = LUNGS["right lung"], LUNGS["left lung"]
    return label


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write pixels (H, W) as PNG."""
    Image.fromarray(pixels).save(path, format="PNG")


def picture_affine(spacing: float) -> np.ndarray:
    """Return the affine (4, 4) of a picture (columns, rows, 1) with square pixels of `spacing` mm.

    The orientation is ITK's for a radiograph without a position in the body: columns run to the left, rows to
    the back.
    """
    return np.diag([-spacing, -spacing, 1.0, 1.0])


def read_nifti(path: Path) -> nibabel.Nifti1Image:
    """Read a NIfTI file completely. Raises DataError."""
    check_file(path)
    try:
        image = nibabel.Nifti1Image.from_filename(path)
        array = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel, gzip and zlib raise many types for a damaged file
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: cannot be read ({reason}); copy it from the download again") from error
    return nibabel.Nifti1Image(array, image.affine, image.header)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array with its affine (4, 4), in mm, RAS."""
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def check_label_volume(
    image: nibabel.Nifti1Image, mask: nibabel.Nifti1Image, path: Path, labels: Mapping[str, int]
) -> None:
    """Check that the label in `path` is on its image's grid and has known values only. Raises DataError."""
    if image.shape[:3] != mask.shape[:3] or not np.allclose(image.affine, mask.affine, atol=1e-2):
        raise DataError(
            f"{path}: is not on its image's grid (shape {mask.shape} against {image.shape}, or another "
            "affine); copy both from the download again"
        )
    values = np.unique(np.asanyarray(mask.dataobj))
    strange = sorted(set(values.tolist()) - {0, *labels.values()})
    if strange:
        raise DataError(f"{path}: has the values {strange[:5]}, the structures are {sorted(labels.values())}")
