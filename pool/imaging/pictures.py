"""Decoding PNG, JPEG, TIFF and BMP with Pillow: brightness for images, indices as stored for labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from pool.imaging.errors import ImageError, StrPath
from pool.imaging.formats import PICTURES, open_picture

_EIGHT_BITS = ("L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # Pillow's modes
_MIXED = ("P", "PA", "CMYK", "RGBa", "HSV")  # whose stored samples are not brightness
_ORIENTATION, _PHOTOMETRIC, _MIN_IS_WHITE = 274, 262, 0  # tags of TIFF
_INK = {"I;16": 2**16 - 1, "I;16B": 2**16 - 1}  # modes in which Pillow leaves min-is-white as it is


def read_picture(path: StrPath, shape: tuple[int, ...], stored: bool = False) -> np.ndarray:
    """Read a picture as (W, H), (W, H, C) in colour, or (W, H, D) for a TIFF of several pages.

    Palettes become their colours, CMYK becomes RGB, min-is-white is inverted; the orientation tag of a TIFF
    is followed where ITK follows it.

    :param shape: of its header, as `read_header` gives it
    :param stored: keep the indices of a palette and of grey of less than 8 bits: the file is a label

    Raises ImageError.
    """
    if len(shape) > 2:
        pages = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="TIFFImageIO"))
        return pages.T if pages.ndim == 3 else np.moveaxis(pages, -1, 0).T
    with open_picture(path) as picture:
        _check_orientation(picture, path)
        levels = _few_levels(picture) if stored else 1
        picture.load()
        array = _indices(picture, levels) if stored else _brightness(picture)
    array = np.moveaxis(array, 0, 1)
    if array.shape[:2] != shape:
        raise ImageError(f"{path}: is {array.shape[:2]} pixels, ITK reads {shape}; save it again as PNG")
    return array


def has_eight_bits(path: StrPath) -> bool:
    """Return whether the file is a picture with 8 bits per channel, according to its header."""
    if not str(path).lower().endswith(PICTURES) or Path(path).is_dir():
        return False
    with open_picture(path) as picture:
        return picture.mode in _EIGHT_BITS


def _check_orientation(picture: Image.Image, path: StrPath) -> None:
    """Refuse a TIFF whose rows are columns, which readers treat differently. Raises ImageError."""
    tag = getattr(picture, "tag_v2", {}).get(_ORIENTATION, 1)
    if picture.format == "TIFF" and tag not in (1, 2, 3, 4):
        raise ImageError(
            f"{path}: its orientation tag is {tag}, which programs read differently; save it upright (tag 1)"
        )


def _brightness(picture: Image.Image) -> np.ndarray:
    """Return a loaded picture (H, W) or (H, W, C), high values bright."""
    if picture.mode in _MIXED:
        return np.asarray(picture.convert("RGB"))
    array = np.asarray(picture)
    if picture.mode in _INK and getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        array = _INK[picture.mode] - array
    if picture.mode in ("YCbCr", "LAB"):
        return array[..., 0]  # luma, lightness
    return array


def _few_levels(picture: Image.Image) -> int:
    """Return the step between grey levels of a PNG of 2 or 4 bits, stretched to 0-255; else 1."""
    tiles = getattr(picture, "tile", None) if picture.format == "PNG" else None
    return {"L;2": 85, "L;4": 17}.get(str(tiles[0][3]), 1) if tiles else 1


def _indices(picture: Image.Image, step: int) -> np.ndarray:
    """Return the values of a label (H, W) or (H, W, C); equal colours are one value."""
    array = np.asarray(picture) // step if step > 1 else np.asarray(picture)
    colours = array[..., : len(picture.getbands()) - (picture.mode in ("LA", "PA", "RGBA"))]
    if array.ndim == 3 and (colours == colours[..., :1]).all():
        return array[..., 0]
    return array
