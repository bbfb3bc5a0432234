"""Reading what was published and writing what the server takes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from benchmarks.datasets.preparing import DataError

LUNGS = {"right lung": 1, "left lung": 2}  # the values of the apps


def check_folder(source: Path, *folders: str) -> None:
    """Raises ValueError when one of the folders is not in `source`."""
    missing = [folder for folder in folders if not (source / folder).is_dir()]
    if missing:
        raise ValueError(
            f"{source} has no folder {', '.join(missing)}: --source is the folder that the "
            "download unpacks to"
        )


def check_file(path: Path) -> None:
    """Raises DataError when a file is missing or empty."""
    if not path.is_file():
        raise DataError(f"{path}: is missing; copy it from the download again")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty (0 bytes); copy it from the download again")


def read_picture(path: Path) -> np.ndarray:
    """A grey picture as it is stored, (H, W), or with its colours, (H, W, C). Raises DataError."""
    check_file(path)
    try:
        with Image.open(path) as picture:
            return np.array(picture)
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise DataError(f"{path}: cannot be read ({error}); copy it from the download again") from error


def read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A picture of zeros and another value as bool (H, W). Raises DataError: unreadable, or another size."""
    mask = read_picture(path)
    if mask.ndim != 2:
        raise DataError(f"{path}: is no mask, for it has colours")
    if mask.shape != shape:
        raise DataError(f"{path}: has {_size(mask.shape)} pixels, its image {_size(shape)}")
    if not mask.any():
        raise DataError(f"{path}: is empty, no pixel belongs to the structure")
    return mask > 0


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def join_lungs(right: np.ndarray, left: np.ndarray, path: Path) -> np.ndarray:
    """Two masks (H, W) as one label with the values of LUNGS; where they overlap, the left lung.

    Raises DataError when the right lung is not on the picture's left, as it is on a frontal radiograph: then
    the masks are swapped or the picture is mirrored.
    """
    columns = np.arange(right.shape[1])
    if np.average(columns, weights=right.sum(0)) >= np.average(columns, weights=left.sum(0)):
        raise DataError(f"{path}: its right lung lies right of its left one; are the masks swapped?")
    label = np.zeros(right.shape, np.uint8)
    label[right], label[left] = LUNGS["right lung"], LUNGS["left lung"]
    return label


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Pixels (H, W) as PNG."""
    Image.fromarray(pixels).save(path, format="PNG")


def picture_affine(spacing: float) -> np.ndarray:
    """(4, 4) of a picture (columns, rows, 1) with square pixels of `spacing` mm, laid out as ITK reads a
    radiograph without a position in the body: along columns to the left, along rows to the back."""
    return np.diag([-spacing, -spacing, 1.0, 1.0])


def read_nifti(path: Path) -> nibabel.Nifti1Image:
    """A NIfTI file, read to its end. Raises DataError."""
    check_file(path)
    try:
        image = nibabel.Nifti1Image.from_filename(path)
        array = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel, gzip and zlib raise many kinds for a damaged file
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: cannot be read ({reason}); copy it from the download again") from error
    return nibabel.Nifti1Image(array, image.affine, image.header)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """An array and its affine (4, 4), in mm, right-anterior-superior."""
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
