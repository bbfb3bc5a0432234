"""Conversion of a picture or one-slice NIfTI file to a CR or DX radiograph (no position in the body)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from pool.dicom_export.header import VOLUMES, Given, Ids, ds, mm, new_image, set_window, storage_of
from pool.imaging.images import ImageError, read_array, to_grey


def radiograph(path: Path, given: Given, ids: Ids) -> Dataset:
    """Convert a picture to CR or DX."""
    plane, own_spacing = _read_plane(path)
    spacing = own_spacing or (given.spacing and (given.spacing, given.spacing))
    stored = storage_of(plane, path)
    image = new_image(ids, given, 1, stored.pixels(plane), stored)
    set_window(image, float(plane.min()), float(plane.max()))
    image.ViewPosition = ""
    image.LossyImageCompression = "00"
    if path.suffix.lower() in (".jpg", ".jpeg"):
        image.LossyImageCompression, image.LossyImageCompressionMethod = "01", "ISO_10918_1"
        image.LossyImageCompressionRatio = ds(max(1.0, round(plane.size / path.stat().st_size, 2)))
    if spacing:
        rows, columns = mm(spacing[1]), mm(spacing[0])
        image.ImagerPixelSpacing = [rows, columns]  # at the detector
        if given.modality == "CR":
            image.PixelSpacing = [rows, columns]
    if given.modality == "DX":
        _add_dx_attributes(image, path)
    return image


def _add_dx_attributes(image: Dataset, path: Path) -> None:
    """Add what DX requires beyond CR (DICOM PS3.3, A.26). Raises ImageError without a spacing."""
    if "ImagerPixelSpacing" not in image:
        raise ImageError(f"{path}: DX needs the pixel spacing; give it, or choose CR")
    image.PresentationIntentType, image.PresentationLUTShape = "FOR PRESENTATION", "IDENTITY"
    image.PixelIntensityRelationship, image.PixelIntensityRelationshipSign = "LIN", -1  # dense is bright
    image.ImageType = ["DERIVED", "PRIMARY", ""]
    image.ImageLaterality, image.DetectorType = "U", ""
    image.BurnedInAnnotation = "YES"  # unchecked: the cautious answer
    image.PositionerType, image.AcquisitionContextSequence = "", []
    image.AnatomicRegionSequence = _anatomic_regions(image.BodyPartExamined)
    del image.PatientOrientation  # DX requires a value, which a picture does not give


def _anatomic_regions(body_part: str) -> list[Dataset]:
    """Return the code of a body part (DICOM PS3.16, CID 4031), or [] when it is unknown."""
    region, body_parts = Dataset(), cast(Any, codes.cid4031)
    for name in body_parts.dir():
        if name.upper() == body_part:
            code = getattr(body_parts, name)
            region.CodeValue, region.CodingSchemeDesignator = code.value, code.scheme_designator
            region.CodeMeaning = code.meaning
            return [region]
    return []


def _read_plane(path: Path) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Read a picture's pixels (W, H), whole numbers if the file has them, and its spacing in mm.

    The spacing is (along the columns, along the rows), or None when the file does not give it.
    """
    array, affine = read_array(path)
    plane = to_grey(array, path)
    if path.name.lower().endswith(VOLUMES):
        return plane, (float(np.linalg.norm(affine[:3, 0])), float(np.linalg.norm(affine[:3, 1])))
    if plane.dtype == bool:
        plane = plane.astype(np.uint8) * 255
    elif array.ndim == 4:  # colours
        plane = np.rint(plane).astype(array.dtype)
    return plane, None
