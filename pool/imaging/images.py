"""Reading one image of the pool as a 2-D grey picture, from any supported format.

Grey, RGB or RGBA PNG/JPEG/TIFF with 8 or 16 bits, NIfTI and NRRD with one slice, DICOM (a file or the
folder of a one-slice series). Arrays are (W, H), first index to the right, as MONAI's readers give them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import itk
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import ImageReader, ITKReader, MetaTensor, NibabelReader, PILReader
from monai.data.utils import to_affine_nd
from monai.transforms import MapTransform
from PIL import Image

from pool.imaging.names import EXTENSIONS, ImageError, is_dicom
from pool.imaging.names import image_fingerprint as image_fingerprint
from pool.imaging.names import image_id as image_id

P = ParamSpec("P")
T = TypeVar("T")
StrPath = str | os.PathLike[str]
MIN_SIDE = 16  # pixels; smaller images cannot be segmented
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # Pillow's names
_PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


def refuse_detached(path: str | os.PathLike[str]) -> None:
    """Refuse a NRRD whose voxels are in another file: an upload could name any file of this machine.

    Raises ValueError.
    """
    with open(path, "rb") as file:
        if file.read(4) != b"NRRD":
            return
        for line in file:
            if line in (b"\n", b"\r\n"):
                return
            for part in line.split(b"\r"):
                if re.match(rb"\s*data ?file\s*:", part, re.IGNORECASE):
                    raise ValueError("its voxels are in another file: save header and voxels as one")
                skip = re.match(rb"\s*(?:line|byte) ?skip\s*:\s*(\S*)", part, re.IGNORECASE)
                if skip and skip[1] not in (b"0", b"-1"):  # a reader could skip for hours
                    raise ValueError("it skips lines or bytes before its voxels: save it without that")


def reader_for(path: str | os.PathLike[str]) -> ImageReader:
    """Return the MONAI reader for a file name or a DICOM folder.

    Each reader is bound to its one format: ITK and Pillow would otherwise choose by content, and some formats
    (HDF5, EPS) read other files of this machine or run programs. Raises ImageError.
    """
    name = Path(path).name.lower()
    if name.endswith(".nrrd") and not os.path.isdir(path):
        return ITKReader(imageio=itk.NrrdImageIO.New())
    if os.path.isdir(path) or is_dicom(path):
        return ITKReader(imageio=itk.GDCMImageIO.New())
    if name.endswith((".nii", ".nii.gz")):
        return NibabelReader()
    if Path(name).suffix in _PICTURES:
        return PILReader(formats=_FORMATS)
    raise ImageError(f"{path}: not an image this app reads; use one of {', '.join(EXTENSIONS)}")


def reason_of(error: Exception) -> str:
    """Return the line of a library's error that says what is wrong; ITK's start with a path of its build."""
    lines = [line.strip() for line in str(error).splitlines()]
    useful = [line for line in lines if line and not re.fullmatch(r"/\S+:\d+:", line)]
    shown = re.sub(r"^(ITK ERROR|itk::ERROR): \w+\(0x\w+\): ", "", useful[0]) if useful else ""
    return shown or type(error).__name__


def _unreadable(path: StrPath, error: Exception) -> ImageError:
    return ImageError(f"{path}: cannot be read ({reason_of(error)}); copy it again or remove it")


def read_array(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read a file's own array, (W, H), (W, H, D), or (W, H, D, C) with colours, and its affine (4, 4).

    Raises ImageError.
    """
    reader = reader_for(path)
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes); copy it again or remove it")
    try:
        if os.path.isfile(path):
            refuse_detached(path)
        array, meta = reader.get_data(reader.read(os.fspath(path)))
    except Exception as error:  # each reader has its own errors; to a user they all mean the same
        raise _unreadable(path, error) from error
    array = np.asarray(array)
    if array.ndim == 3 and meta.get("original_channel_dim") == -1:
        array = array[:, :, None]  # colours go to a fourth axis, so that three slices are not taken for RGB
    return array, np.asarray(to_affine_nd(3, np.asarray(meta.get("affine", np.eye(4)), dtype=float)))


def names_its_file(read: Callable[Concatenate[StrPath, P], T]) -> Callable[Concatenate[StrPath, P], T]:
    """Decorate a reader: whatever a malformed file makes it raise becomes an ImageError naming the file."""

    @wraps(read)
    def guarded(path: StrPath, /, *args: P.args, **more: P.kwargs) -> T:
        try:
            return read(path, *args, **more)
        except ImageError:
            raise
        except Exception as error:  # header fields, types and shapes each raise their own kind
            raise _unreadable(path, error) from error

    return guarded


def to_grey(array: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Reduce what `read_array` returns, a picture or one-slice volume, to (W, H). Raises ImageError."""
    if array.ndim == 4 and array.shape[-1] in (2, 3, 4):
        colour = array[..., :3] if array.shape[-1] > 2 else array[..., :1]
        weights = _GREY if colour.shape[-1] == 3 else np.ones(1)
        array = (colour.astype(np.float64) @ weights).astype(np.float32)
    plane = array.reshape(array.shape[:2]) if array.ndim > 1 and array[0, 0].size == 1 else array
    if plane.ndim != 2:
        raise ImageError(
            f"{path}: has shape {array.shape}, but this app reads single 2-D images; "
            "split the volume into slices or use an app for volumes"
        )
    return plane


@names_its_file
def read_image(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read a grey image (W, H) float32 in its own intensities, and its affine (4, 4).

    Raises ImageError naming the file: unreadable, empty, smaller than 16 pixels, not finite, or all pixels
    equal.
    """
    array, affine = read_array(path)
    grey = to_grey(array, path).astype(np.float32)
    if min(grey.shape) < MIN_SIDE:
        raise ImageError(
            f"{path}: is {grey.shape[0]} x {grey.shape[1]} pixels, the minimum is {MIN_SIDE}; "
            "replace or remove it"
        )
    if not np.isfinite(grey).all():
        raise ImageError(f"{path}: has pixels that are not finite; replace or remove it")
    if grey.min() == grey.max():
        raise ImageError(f"{path}: all pixels have the value {grey.min():g}; replace or remove it")
    return grey, affine


def unit_range(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the image as (H, W) float32 in [0, 1], the input of the encoders.

    8-bit files are divided by 255; everything else (16-bit, NIfTI, DICOM) has no fixed range and is
    windowed between its 0.5 and 99.5 percentiles. Raises ImageError.
    """
    grey, _ = read_image(path)
    if _has_eight_bits(path):
        low, high = 0.0, 255.0
    else:
        low, high = (float(v) for v in np.percentile(grey, (0.5, 99.5)))
        if high <= low:
            low, high = float(grey.min()), float(grey.max())
    return np.clip((grey.T - low) / (high - low), 0, 1).astype(np.float32)


def _has_eight_bits(path: str | os.PathLike[str]) -> bool:
    """Return whether the file is a picture with 8 bits per channel, according to its header."""
    if Path(path).suffix.lower() not in _PICTURES:
        return False
    with Image.open(path, formats=_FORMATS) as picture:
        return picture.mode in ("L", "LA", "P", "RGB", "RGBA")


class ReadImaged(MapTransform):
    """MONAI transform: read a path as a MetaTensor (1, W, H) with its affine and `filename_or_obj`."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            path = out[key]
            grey, affine = read_image(path)
            out[key] = MetaTensor(
                torch.from_numpy(np.ascontiguousarray(grey))[None],
                affine=torch.from_numpy(affine),
                meta={"filename_or_obj": os.fspath(path), "spatial_shape": grey.shape, "own_affine": affine},
            )
        return out
