"""Reading one image of the pool as a 2-D grey picture, from any supported format.

PNG, JPEG and TIFF in grey, in colour, with a palette or as CMYK, of 8 or 16 bits; NIfTI and NRRD with one
slice; DICOM (a file or the folder of a one-slice series). High values are bright. Arrays are (W, H), first
index to the right, as MONAI's readers give them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any, cast

import numpy as np
import SimpleITK as sitk
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Image
from nibabel.volumeutils import apply_read_scaling

from pool.imaging.errors import ImageError, names_its_file, reading_image
from pool.imaging.formats import channel_axis, kind_of, load_nifti
from pool.imaging.geometry import read_header, read_series
from pool.imaging.names import EXTENSIONS as EXTENSIONS
from pool.imaging.names import image_fingerprint as image_fingerprint
from pool.imaging.names import image_id as image_id
from pool.imaging.pictures import has_eight_bits, read_picture

logger = logging.getLogger(__name__)
MIN_SIDE = 16  # pixels; smaller images cannot be segmented
MAX_NOT_FINITE = 0.5  # fraction of an image's values that may be NaN or infinite: masked backgrounds are
_PIECE = 1 << 20  # bytes of a compressed file read at a time
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
_FILL = "%s: %d of %d values are not finite; they are read as the image's minimum (+inf as its maximum)"


def read_array(path: str | os.PathLike[str], stored: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Read a file's own array, (W, H), (W, H, D), or (W, H, D, C) with colours, and its affine (4, 4).

    :param stored: read a label: palettes keep their indices

    Raises ImageError.
    """
    with reading_image(path):
        header, kind = read_header(path), kind_of(path)
        if kind == "picture":
            array = read_picture(path, header.shape, stored)
            # colours go to a fourth axis, so that three slices are not taken for RGB
            array = array[:, :, None] if array.ndim == 3 and len(header.shape) == 2 else array
        elif kind == "nifti":
            array = _read_nifti(path)
        else:
            array = _read_itk(path, kind)
        if array.size == 0:
            raise ImageError(f"{path}: has no voxels; copy it again or remove it")
    return array, header.affine


def _read_nifti(path: str | os.PathLike[str]) -> np.ndarray:
    image = load_nifti(path)
    if image.get_data_dtype().fields:
        raise ImageError(f"{path}: has colours, not one value per voxel; save it as grey")
    return _unpack(image) if os.fspath(path).lower().endswith(".gz") else np.asanyarray(image.dataobj)


def _unpack(image: Nifti1Image) -> np.ndarray:
    """Read a compressed image in small pieces; nibabel stops all threads while it clears its memory.

    Raises OSError for a file that ends too early.
    """
    proxy = cast(ArrayProxy, image.dataobj)
    array = np.empty(proxy.shape, proxy.dtype, order="F")
    target = array.reshape(-1, order="F").view(np.uint8).data
    with image.file_map["image"].get_prepare_fileobj("rb") as file:
        file.seek(proxy.offset)
        done = 0
        while done < len(target):
            count = file.readinto(target[done : done + _PIECE])
            if not count:
                raise OSError(f"it holds {done} of {len(target)} bytes")
            done += count
    return np.asanyarray(apply_read_scaling(array, proxy.slope, proxy.inter))


def _read_itk(path: str | os.PathLike[str], kind: str) -> np.ndarray:
    """Read a NRRD, a DICOM file or a series, channels last; no more bytes than the header declares."""
    if os.path.isdir(path):
        image = read_series(path)
    else:
        image = sitk.ReadImage(os.fspath(path), imageIO="NrrdImageIO" if kind == "nrrd" else "GDCMImageIO")
    array, spatial = sitk.GetArrayFromImage(image), image.GetDimension()
    array = array.transpose(*reversed(range(spatial)), *range(spatial, array.ndim))
    if kind == "nrrd" and spatial == 4:
        return np.moveaxis(array, channel_axis(path), 3)
    return array[:, :, None] if array.ndim > spatial == 2 else array


def to_grey(array: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Reduce what `read_array` returns, a picture or one-slice volume, to (W, H). Raises ImageError."""
    if array.ndim == 4 and array.shape[-1] in (2, 3, 4):
        colour = array[..., :3] if array.shape[-1] > 2 else array[..., :1]
        weights = _GREY if colour.shape[-1] == 3 else np.ones(1)
        array = (colour.astype(np.float64) @ weights).astype(np.float32)
    plane = array.reshape(array.shape[:2]) if array.ndim > 1 and array[0, 0].size == 1 else array
    if plane.ndim != 2:
        raise not_flat(array.shape, path)
    return plane


def not_flat(shape: tuple[int, ...], path: str | os.PathLike[str]) -> ImageError:
    """Return the error for a volume where a picture was expected."""
    return ImageError(
        f"{path}: has shape {shape}, but this app reads single 2-D images; "
        "split the volume into slices or use an app for volumes"
    )


def real(array: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array unchanged. Raises ImageError for complex values, which have no one brightness."""
    if np.iscomplexobj(array):
        raise ImageError(f"{path}: has complex values; save their magnitude")
    return array


def filled(array: np.ndarray, path: str | os.PathLike[str]) -> np.ndarray:
    """Replace NaN by the minimum of an image's finite values, with a warning; +inf becomes the maximum.

    Raises ImageError when more than `MAX_NOT_FINITE` of the values are not finite.
    """
    finite = np.isfinite(array)
    if finite.all():
        return array
    count = int(array.size - finite.sum())
    if count > MAX_NOT_FINITE * array.size:
        raise ImageError(
            f"{path}: {count} of {array.size} values are not finite, {MAX_NOT_FINITE:.0%} may be; "
            "replace or remove it"
        )
    _warn_once(_FILL, os.fspath(path), count, array.size)
    low, high = array[finite].min(), array[finite].max()
    return np.nan_to_num(array, nan=low, posinf=high, neginf=low)


@lru_cache(maxsize=10_000)
def _warn_once(*message: Any) -> None:
    """Log a warning about a file; each pass over the pool reads it again."""
    logger.warning(*message)


@names_its_file
def read_image(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read a grey image (W, H) float32 in its own intensities, and its affine (4, 4).

    Values that are not finite are replaced with a warning, up to the share `MAX_NOT_FINITE`. Raises
    ImageError naming the file: unreadable, empty, smaller than 16 pixels, more than that share not finite, or
    all pixels equal.
    """
    array, affine = read_array(path)
    grey = real(to_grey(array, path), path).astype(np.float32)
    if min(grey.shape) < MIN_SIDE:
        raise ImageError(
            f"{path}: is {grey.shape[0]} x {grey.shape[1]} pixels, the minimum is {MIN_SIDE}; "
            "replace or remove it"
        )
    grey = filled(grey, path)
    if grey.min() == grey.max():
        raise ImageError(f"{path}: all pixels have the value {grey.min():g}; replace or remove it")
    return grey, affine


@names_its_file
def unit_range(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the image as (H, W) float32 in [0, 1], the input of the encoders.

    8-bit files are divided by 255; everything else (16-bit, NIfTI, DICOM) has no fixed range and is
    windowed between its 0.5 and 99.5 percentiles. Raises ImageError.
    """
    grey, _ = read_image(path)
    if has_eight_bits(path):
        low, high = 0.0, 255.0
    else:
        low, high = (float(v) for v in np.percentile(grey, (0.5, 99.5)))
        if high <= low:
            low, high = float(grey.min()), float(grey.max())
    return np.clip((grey.T - low) / (high - low), 0, 1).astype(np.float32)


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
