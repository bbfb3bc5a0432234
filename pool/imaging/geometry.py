"""The geometry of images and labels: spacing, origin and direction exactly as ITK reads them.

Every part of the project asks here, and nobody derives an affine from a header elsewhere. Viewers built on
ITK (3D Slicer, ITK-SNAP) therefore show image, prediction and label in the same place. An affine (4, 4) maps
indices to millimetres, right-anterior-superior; a 2-D image is one slice of 1 mm at height 0.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import SimpleITK as sitk

from pool.imaging.dicom import check_dicom, series_files
from pool.imaging.errors import ImageError, StrPath, names_its_file
from pool.imaging.formats import (
    channel_axis,
    kind_of,
    load_nifti,
    open_picture,
    refuse_detached,
    stored_header,
)
from pool.imaging.limits import check_size

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's space is left-posterior-superior; its own inverse
PICTURE_AFFINE = _TO_RAS  # of a picture that gives no spacing

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK would write to the server's standard error


@dataclass(frozen=True)
class Header:
    """Contents of a file's header.

    :ivar shape: (W, H) of a 2-D file, (W, H, D), or (W, H, D, C) with channels
    :ivar affine: (4, 4) of the spatial axes
    """

    shape: tuple[int, ...]
    affine: np.ndarray


@names_its_file
def read_header(path: StrPath) -> Header:
    """Read shape and geometry from a file's header, and check what it declares.

    A DICOM series is read whole. Raises ImageError.
    """
    kind = kind_of(path)
    if os.path.isdir(path):
        return header_of(read_series(path))
    check_file(path)
    if kind == "picture":
        return _picture_header(path)
    if kind == "nrrd":
        refuse_detached(path)
    if kind == "nifti":
        load_nifti(path)  # refuses headers that would keep ITK busy
    return _itk_header(path, {"nifti": "NiftiImageIO", "nrrd": "NrrdImageIO", "dicom": "GDCMImageIO"}[kind])


def check_file(path: StrPath) -> None:
    """Raise ImageError for an empty file, OSError for one that cannot be opened."""
    if os.stat(path).st_size == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes); copy it again or remove it")


def affine_of(image: sitk.Image | sitk.ImageFileReader, axes: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """Return the affine (4, 4) of what ITK read.

    :param axes: those of the file that are spatial, where it has four without a direction
    """
    dimension, affine = image.GetDimension(), np.eye(4)
    axes = tuple(axis for axis in axes if axis < dimension)
    direction = np.reshape(image.GetDirection(), (dimension, dimension))[np.ix_(axes, axes)]
    count = len(axes)
    affine[:count, :count] = direction * np.array(image.GetSpacing())[list(axes)]
    affine[:count, 3] = np.array(image.GetOrigin())[list(axes)]
    return _TO_RAS @ affine + 0.0  # without negative zeros


def lps(affine: np.ndarray) -> np.ndarray:
    """Return an affine (4, 4) in ITK's space, left-posterior-superior."""
    return _TO_RAS @ affine + 0.0


def header_of(image: sitk.Image | sitk.ImageFileReader, channel_axis: int = 3) -> Header:
    """Return the header of what ITK read, channels last.

    :param channel_axis: the axis of a 4-D file that is not spatial
    """
    shape, channels = [int(n) for n in image.GetSize()], _components(image)
    spatial = tuple(axis for axis in range(4) if axis != channel_axis) if len(shape) == 4 else (0, 1, 2)
    affine = affine_of(image, spatial)
    if len(shape) == 4:
        shape.append(shape.pop(channel_axis))
    if channels > 1:
        shape += [1] * (3 - len(shape)) + [channels]
    return Header(tuple(shape), affine)


def _components(image: sitk.Image | sitk.ImageFileReader) -> int:
    """Return the values of a voxel; a complex number is one."""
    if isinstance(image, sitk.Image):
        return int(image.GetNumberOfComponentsPerPixel())
    is_complex = sitk.GetPixelIDValueAsString(image.GetPixelID()).startswith("complex")
    return 1 if is_complex else int(image.GetNumberOfComponents())


def itk_reader(path: StrPath, imageio: str) -> sitk.ImageFileReader:
    """Return ITK's reader, bound to one format, with the header read and checked. Raises ImageError."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(imageio)
    reader.SetFileName(os.fspath(path))
    _read_information(reader, path)
    value = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    bits = re.search(r"(\d+)-bit", value)
    itemsize = int(bits[1]) // 8 if bits else 1
    shape = (*reader.GetSize(), int(reader.GetNumberOfComponents()))
    check_size(path, shape, itemsize, compact=imageio != "GDCMImageIO")
    return reader


def _read_information(reader: sitk.ImageFileReader, path: StrPath) -> None:
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" not in str(error):
            raise
        raise ImageError(
            f"{path}: its header gives no voxel size or orientation (its axes are not at right angles); "
            "resample it to a straight grid, convert it again from its source, or remove it"
        ) from error


def _itk_header(path: StrPath, imageio: str) -> Header:
    if imageio == "GDCMImageIO":
        check_dicom(path)
    reader = itk_reader(path, imageio)
    axis = channel_axis(path) if imageio == "NrrdImageIO" and reader.GetDimension() == 4 else 3
    return header_of(reader, axis)


def _picture_header(path: StrPath) -> Header:
    with open_picture(path) as picture:
        check_size(path, (*picture.size, len(picture.getbands())), 1)
        if (
            picture.format == "PNG" and picture.mode == "LA"
        ):  # the one kind of PNG that SimpleITK does not open
            return Header(picture.size, PICTURE_AFFINE)
        imageio = {"PNG": "PNGImageIO", "TIFF": "TIFFImageIO", "BMP": "BMPImageIO"}.get(picture.format or "")
    reader = itk_reader(path, imageio or "JPEGImageIO")
    size = tuple(int(n) for n in reader.GetSize())
    pages = size[2:] if size[2:] != (1,) else ()
    return Header((*size[:2], *pages), affine_of(reader))


def read_series(folder: StrPath) -> sitk.Image:
    """Read the DICOM series in a folder as one volume. Raises ImageError."""
    files = series_files(folder)
    for file in files:
        check_dicom(file)
    sizes = itk_reader(files[0], "GDCMImageIO").GetSize()
    check_size(files[0], (*sizes[:2], len(files)), 2, compact=False)
    return sitk.ReadImage(files if len(files) > 1 else files[0], imageIO="GDCMImageIO")


def gives_position(path: StrPath) -> bool:
    """Return whether a file gives its position: no picture does, and NIfTI and NRRD may omit it."""
    kind = kind_of(path)
    if kind == "nifti":
        header = stored_header(path)
        return bool(header["sform_code"] > 0 or header["qform_code"] > 0)
    if kind == "nrrd":
        return "space directions" in nrrd.read_header(os.fspath(path))  # spacings alone say no place
    return kind != "picture"


def former_affine(path: StrPath) -> np.ndarray:
    """Return the affine (4, 4) that versions before 0.1 gave an image and its labels.

    Pictures had the identity in right-anterior-superior space, NIfTI the form that nibabel chooses.
    """
    kind = kind_of(path)
    if kind == "picture":
        return np.eye(4)
    if kind == "nifti":
        return np.asarray(load_nifti(path).affine, dtype=float)
    return read_header(path).affine


def copy_forms(target: nibabel.Nifti1Header, path: StrPath) -> bool:
    """Copy both forms, their codes, voxel sizes and unit of a 3-D NIfTI image; False for any other file.

    ITK chooses between the forms by their codes, so a label with the same header has the same geometry.
    """
    if os.path.isdir(path) or not Path(path).name.lower().endswith((".nii", ".nii.gz")):
        return False
    source = stored_header(path)
    if source["dim"][0] < 3:
        return False
    size = np.ones(8)
    size[:4] = source["pixdim"][:4]
    target["pixdim"] = size
    for field in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"):
        target[field] = source[field]
    for field in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
        target[field] = source[field]
    return True
