"""Names and fingerprints of image and label files, and the errors about them.

Imports no library that reads images, so that commands which only list a pool start at once.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

DICOM = (".dcm", ".dicom", ".ima")
EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".png", ".jpg", ".jpeg", ".tif", ".tiff", *DICOM)
LABEL_EXTENSIONS = (".png", ".nii.gz", ".nii", ".nrrd")
MODALITIES = ("ct", "mr")  # rules for the intensities of volumes


class ImageError(ValueError):
    """An image that cannot be used; the text names the file, what is wrong and what to do."""


class LabelError(ValueError):
    """A label that does not fit its image; the text says what is wrong and what to do."""


class EmptyLabel(LabelError):
    """A label without a voxel that nobody said to be empty."""


class UnknownValues(LabelError):
    """A label with values that the app does not know.

    :ivar values: some of them
    """

    def __init__(self, text: str, values: list[int]) -> None:
        super().__init__(text)
        self.values = values


def image_id(path: str) -> str:
    """Return the datastore's id of an image file: its name without the extension."""
    name = Path(path).name
    ext = next((e for e in EXTENSIONS if name.lower().endswith(e)), Path(name).suffix)
    return name[: len(name) - len(ext)]


def split_name(name: str) -> tuple[str, str] | None:
    """Split a file name into id and extension; None for a hidden file or no image."""
    ext = next((e for e in EXTENSIONS if name.lower().endswith(e)), "")
    if not ext or Path(name).name.startswith("."):
        return None
    return name[: -len(ext)], name[-len(ext) :]


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is DICOM: by its extension, or by the mark in a file with none of ours."""
    name = Path(path).name.lower()
    if name.endswith(EXTENSIONS):
        return name.endswith(DICOM)
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def image_fingerprint(path: str | os.PathLike[str]) -> str:
    """Return size and modification time, which change with the file. Raises FileNotFoundError."""
    stat = os.stat(path)
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def same_name(name: str) -> str:
    """Normalise a segment name for comparison: without case, spaces, underscores and hyphens."""
    return re.sub(r"[\s_\-]+", "", name).lower()
