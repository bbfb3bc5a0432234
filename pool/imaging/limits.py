"""Limits on what a file declares: its header is checked before memory or time is spent on voxels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod

from pool.imaging.errors import ImageError, StrPath

MAX_PIXELS = 2**26  # of a picture: 8192 x 8192
MAX_VOXELS = 2**29  # of a volume with all its channels: 512 x 512 x 2048
MAX_BYTES = 2**32  # of the voxels as the file stores them, decompressed: 4 GiB
MAX_RATIO = 2000  # declared bytes per byte of the file; deflate reaches 1032, LZW and JPEG less than this
_MIN_SKIP, _MAX_SKIP = 352, 2**26  # bytes before the voxels of a NIfTI file: its header to 64 MiB


def check_size(path: StrPath, shape: Sequence[int], itemsize: int, compact: bool = True) -> None:
    """Refuse a file whose header declares more than this app reads, or more than the file can hold.

    :param shape: voxels along each axis, channels included
    :param itemsize: bytes of one value
    :param compact: False for formats whose compression has no limit (JPEG 2000 in DICOM)
    Raises ImageError.
    """
    count, most = prod(shape), MAX_PIXELS if _is_flat(shape) else MAX_VOXELS
    size = " x ".join(map(str, shape))
    if min(shape, default=0) < 1:
        raise ImageError(f"{path}: its header declares {size or 'no'} voxels; copy it again or remove it")
    if count > most or count * itemsize > MAX_BYTES:
        raise too_large(path, f"{size} values, {count * itemsize / 2**30:.3g} GiB")
    present = os.path.getsize(path)
    if compact and count * itemsize > present * MAX_RATIO:
        raise ImageError(
            f"{path}: its header declares {count * itemsize} bytes of values, more than a file of {present} "
            "bytes can hold; copy it again or remove it"
        )


def too_large(path: StrPath, size: str) -> ImageError:
    """Return the error for a header that declares more than this app reads."""
    return ImageError(
        f"{path}: its header declares too much ({size}): a picture may have {MAX_PIXELS} values, a volume "
        f"{MAX_VOXELS} and {MAX_BYTES >> 30} GiB; crop or resample it, or remove it"
    )


def _is_flat(shape: Sequence[int]) -> bool:
    """Return whether a shape is that of one picture, in grey or colour."""
    return sum(n > 4 for n in shape) < 3


def check_skip(path: StrPath, skipped: float) -> None:
    """Refuse a NIfTI file whose voxels begin in its header, or far behind it. Raises ImageError."""
    if not _MIN_SKIP <= skipped <= _MAX_SKIP:
        raise ImageError(f"{path}: its voxels begin at byte {skipped:g}; convert it again from its source")
