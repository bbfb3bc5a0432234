"""The formats that the app reads, each known by its name, and opened as that format only."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path
from typing import cast

import nibabel
import nrrd
from nibabel.openers import ImageOpener
from PIL import Image, UnidentifiedImageError

from pool.imaging.errors import ImageError, StrPath, reason_of
from pool.imaging.limits import check_skip, too_large
from pool.imaging.names import EXTENSIONS, is_dicom

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # Pillow's names
_TIFF = (b"II*\0", b"MM\0*")  # begins a file, little- or big-endian
_MAX_LINES, _MAX_LINE = 20_000, 2**20  # of the header of a NRRD; bytes of a line
_HEADER, _NIFTI_2 = 348, 540  # bytes of a NIfTI header, which begins with their number
_SPATIAL = re.compile(r"domain|space")


def kind_of(path: StrPath) -> str:
    """Return the one format that a name stands for: picture, nifti, nrrd, or dicom (also a series' folder).

    ITK and Pillow would otherwise choose by content, and some formats (HDF5, EPS) read other files of this
    machine or run programs. Raises ImageError.
    """
    name = Path(path).name.lower()
    if os.path.isdir(path) or is_dicom(path):
        return "dicom"
    if name.endswith((".nii", ".nii.gz")):
        return "nifti"
    if name.endswith(".nrrd"):
        return "nrrd"
    if name.endswith(PICTURES):
        return "picture"
    if name.endswith((".nhdr", ".mhd", ".hdr", ".img")):
        raise ImageError(f"{path}: keeps its voxels in a file beside it; save both as one .nrrd")
    raise ImageError(f"{path}: not an image this app reads; use one of {', '.join(EXTENSIONS)}")


def load_nifti(path: StrPath) -> nibabel.nifti1.Nifti1Image:
    """Open a NIfTI file, without reading its voxels. Raises ImageError, else nibabel's errors."""
    _check_nifti(path)
    return cast(nibabel.nifti1.Nifti1Image, nibabel.load(os.fspath(path)))


def _check_nifti(path: StrPath) -> None:
    """Refuse NIfTI-2, and extensions that do not fit before the voxels: libraries would read them whole.

    Raises ImageError, and nibabel's errors for a header that is none.
    """
    with gzip.open(path) if os.fspath(path).lower().endswith(".gz") else open(path, "rb") as file:
        block = file.read(_HEADER)
        if _NIFTI_2 in (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")):
            raise ImageError(f"{path}: is NIfTI-2, which ITK does not read; save it as NIfTI-1")
        header = nibabel.Nifti1Header(block, check=False)
        check_skip(path, left := float(header["vox_offset"]))
        left, extended = left - _HEADER - 4, file.read(4)[:1] not in (b"", b"\0")
        while extended and left >= 16:
            size = int.from_bytes(file.read(4), "little" if header.endianness == "<" else "big", signed=True)
            if not 8 <= size <= left:
                raise ImageError(
                    f"{path}: an extension of its header declares {size} bytes, {left:g} are left before its "
                    "voxels; convert it again from its source"
                )
            file.seek(size - 4, os.SEEK_CUR)
            left -= size


def stored_header(path: StrPath) -> nibabel.nifti1.Nifti1Header:
    """Read the header of a NIfTI file as it is; `load_nifti` corrects odd codes and sizes, ITK does not."""
    with ImageOpener(os.fspath(path)) as file:
        return cast(nibabel.nifti1.Nifti1Header, nibabel.nifti1.Nifti1Header.from_fileobj(file, check=False))


def open_picture(path: StrPath) -> Image.Image:
    """Open a picture without decoding it.

    Raises ImageError for too many pixels or an uncommon kind of TIFF, else Pillow's errors.
    """
    try:
        return Image.open(path, formats=PICTURE_FORMATS)
    except Image.DecompressionBombError as error:
        raise too_large(path, reason_of(error)) from error
    except UnidentifiedImageError as error:
        with open(path, "rb") as file:
            if file.read(4) not in _TIFF:
                raise
        raise ImageError(f"{path}: is a kind of TIFF that Pillow does not read; save it as PNG") from error


def refuse_detached(path: StrPath) -> None:
    """Refuse a NRRD with an endless header, or whose voxels are in another file of this machine.

    Raises ValueError.
    """
    with open(path, "rb") as file:
        if file.read(4) != b"NRRD":
            return
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), b"")):
            if line in (b"\n", b"\r\n"):
                return
            if number > _MAX_LINES or len(line) == _MAX_LINE:  # libraries take minutes for such a header
                raise ValueError("its header is too long: save it without comments")
            for part in line.split(b"\r"):
                if re.match(rb"\s*data ?file\s*:", part, re.IGNORECASE):
                    raise ValueError("its voxels are in another file: save header and voxels as one")
                skip = re.match(rb"\s*(?:line|byte) ?skip\s*:\s*(\S*)", part, re.IGNORECASE)
                if skip and skip[1] not in (b"0", b"-1"):  # a reader could skip for hours
                    raise ValueError("it skips lines or bytes before its voxels: save it without that")


def channel_axis(path: StrPath) -> int:
    """Return the axis of a 4-D NRRD that is not spatial: the one that its kinds name, else the first."""
    header = nrrd.read_header(os.fspath(path))
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    other = [axis for axis, kind in enumerate(kinds) if not _SPATIAL.fullmatch(kind)]
    if len(other) == 1:
        return other[0]
    return 3 if "space directions" in header else 0
