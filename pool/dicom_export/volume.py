"""Conversion of a NIfTI volume to MR or CT: one image per slice, with position, orientation and spacing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset

from pool.dicom_export.header import VOLUMES, Given, Ids, ds, mm, new_image, set_window, storage_of
from pool.imaging.errors import ImageError
from pool.imaging.geometry import lps, read_header


def open_volume(path: Path) -> nibabel.Nifti1Image:
    """Open a NIfTI file without reading its voxels. Raises ImageError."""
    if not path.name.lower().endswith(VOLUMES):
        raise ImageError(f"{path}: a picture has no position in the body; send it as CR or DX")
    try:
        return nibabel.Nifti1Image.from_filename(path)
    except Exception as error:  # nibabel raises many kinds for a damaged file
        raise ImageError(f"{path}: cannot be read ({error}); copy it again or remove it") from error


def shape_of(volume: nibabel.Nifti1Image, path: Path) -> tuple[int, int, int]:
    """Return (W, H, D). Raises ImageError for several channels or a time series."""
    shape = tuple(int(size) for size in volume.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 3:
        raise ImageError(f"{path}: has shape {shape}; send each channel as a file of its own")
    return shape[0], shape[1], shape[2] if len(shape) == 3 else 1


def _geometry(volume: nibabel.Nifti1Image, path: Path) -> np.ndarray:
    """Return the affine (4, 4) into DICOM's axes, in mm. Raises ImageError when it is missing or sheared."""
    header = volume.header
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        raise ImageError(
            f"{path}: does not say how it lies in the body (sform and qform are not set); set one, for "
            "example with 3D Slicer or fslorient"
        )
    if (unit := header.get_xyzt_units()[0]) not in ("mm", "unknown"):
        raise ImageError(f"{path}: its spacing is in {unit}, expected mm; save it in mm")
    affine = read_header(path).affine
    if not np.isfinite(affine).all() or (np.linalg.norm(affine[:3, :3], axis=0) < 1e-6).any():
        raise ImageError(f"{path}: its affine is not a valid geometry; repair its header")
    return lps(affine)


def slices(path: Path, volume: nibabel.Nifti1Image, given: Given, ids: Ids) -> Iterator[Dataset]:
    """Yield one image per slice: rows along the volume's second axis, columns along its first.

    DICOM PS3.3, C.7.6.2.1.1.
    """
    affine, shape = _geometry(volume, path), shape_of(volume, path)
    try:
        values = np.asanyarray(volume.dataobj).reshape(shape)
    except Exception as error:  # nibabel, gzip and zlib raise many kinds for a damaged file
        raise ImageError(f"{path}: cannot be read ({error}); copy it again or remove it") from error
    if values.dtype == np.uint8:
        values = values.astype(np.uint16)  # MR and CT have 16 bits
    stored = storage_of(values, path)
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    along, down = affine[:3, 0] / lengths[0], affine[:3, 1] / lengths[1]
    for k in range(shape[2]):
        image = new_image(ids, given, k + 1, stored.pixels(values[:, :, k]), stored)
        set_window(image, low, high)
        image.FrameOfReferenceUID, image.PositionReferenceIndicator = ids.frame, ""
        image.ImageOrientationPatient = [ds(value) for value in (*along, *down)]
        image.ImagePositionPatient = [ds(value) for value in affine[:3, 3] + k * affine[:3, 2]]
        image.PixelSpacing = [mm(lengths[1]), mm(lengths[0])]
        image.SliceThickness, image.PatientPosition = mm(lengths[2]), ""
        _add_scan_attributes(image, given.modality, lengths[2])
        yield image


def _add_scan_attributes(image: Dataset, modality: str, distance: float) -> None:
    """Add the scan attributes that MR and CT require, which a NIfTI file does not have."""
    if modality == "CT":
        image.ImageType, image.KVP = ["DERIVED", "PRIMARY", "AXIAL"], None
        return
    image.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "RM", "NONE", ""
    image.MRAcquisitionType, image.EchoTrainLength = "", None
    image.EchoTime, image.RepetitionTime = None, None
    image.SpacingBetweenSlices = mm(distance)
