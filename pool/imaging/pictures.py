"""Decoding PNG, JPEG, TIFF and BMP with Pillow: brightness for images, indices as stored for labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image, ImageSequence

from pool.imaging.errors import ImageError, StrPath
from pool.imaging.formats import PICTURES, open_picture

_EIGHT_BITS = ("L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # Pillow's modes
_MIXED = ("P", "PA", "CMYK", "RGBa", "HSV")  # whose stored samples are not brightness
_ORIENTATION, _PHOTOMETRIC, _MIN_IS_WHITE = 274, 262, 0  # tags of TIFF
_LEFT_INVERSE = ("I;16", "I;16B", "F")  # modes in which Pillow leaves min-is-white as it is


def read_picture(path: StrPath, shape: tuple[int, ...], stored: bool = False) -> np.ndarray:
    """Read a picture as (W, H), (W, H, C) in colour, or (W, H, D) for a TIFF of several pages.

    Palettes become their colours, CMYK becomes RGB, min-is-white is inverted; the orientation tag of a TIFF
    is followed where ITK follows it.

    :param shape: of its header, as `read_header` gives it
    :param stored: keep the indices of a palette and of grey of less than 8 bits: the file is a label

    Raises ImageError.
    """
    if len(shape) > 2:
        return _pages(path)
    with open_picture(path) as picture:
        if stored and picture.format == "JPEG":
            raise ImageError(f"{path}: is a JPEG, whose compression changes values; save the label as PNG")
        _check_orientation(picture, path, (1, 2, 3, 4))
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


def _pages(path: StrPath) -> np.ndarray:
    """Read a TIFF of several pages as (W, H, D), or (W, H, D, C) in colour. Raises ImageError."""
    with open_picture(path) as picture:
        _check_orientation(picture, path, (1,))  # ITK makes colours of turned pages
        sizes = {page.size for page in ImageSequence.Iterator(picture)}
        if len(sizes) > 1:
            raise ImageError(
                f"{path}: its pages differ in size, as of a picture with a preview: save the picture alone"
            )
        picture.seek(0)
        inverse = _is_min_white(picture)
    pages = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="TIFFImageIO"))
    pages = _inverted(pages) if inverse else pages
    return pages.T if pages.ndim == 3 else np.moveaxis(pages, -1, 0).T


def _is_min_white(picture: Image.Image) -> bool:
    return getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == _MIN_IS_WHITE


def _inverted(array: np.ndarray) -> np.ndarray:
    """Return values with their order reversed, whole numbers within the range of their type."""
    return ~array if np.issubdtype(array.dtype, np.integer) else -array


def _check_orientation(picture: Image.Image, path: StrPath, read: tuple[int, ...]) -> None:
    """Refuse a TIFF with an orientation that readers treat differently. Raises ImageError.

    :param read: the tags that all readers follow
    """
    tag = getattr(picture, "tag_v2", {}).get(_ORIENTATION, 1)
    if picture.format == "TIFF" and tag not in read:
        raise ImageError(
            f"{path}: its orientation tag is {tag}, which programs read differently; save it upright (tag 1)"
        )


def _brightness(picture: Image.Image) -> np.ndarray:
    """Return a loaded picture (H, W) or (H, W, C), high values bright."""
    if picture.mode in _MIXED:
        return np.asarray(picture.convert("RGB"))
    array = np.asarray(picture)
    if picture.mode in _LEFT_INVERSE and _is_min_white(picture):
        array = _inverted(array)
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
