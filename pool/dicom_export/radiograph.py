"""A picture, or a NIfTI file of one slice, as a radiograph: CR or DX, without a position in the body."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from pool.dicom_export.header import VOLUMES, Given, Ids, ds, mm, new_image, set_window, storage_of
from pool.imaging.images import ImageError, read_array, to_grey


def radiograph(path: Path, given: Given, ids: Ids) -> Dataset:
    """A picture as CR or DX."""
    plane, own = _plane(path)
    spacing = own or (given.spacing and (given.spacing, given.spacing))
    stored = storage_of(plane, path)
    made = new_image(ids, given, 1, stored.pixels(plane), stored)
    set_window(made, float(plane.min()), float(plane.max()))
    made.ViewPosition = ""
    made.LossyImageCompression = "00"
    if path.suffix.lower() in (".jpg", ".jpeg"):
        made.LossyImageCompression, made.LossyImageCompressionMethod = "01", "ISO_10918_1"
        made.LossyImageCompressionRatio = ds(max(1.0, round(plane.size / path.stat().st_size, 2)))
    if spacing:
        rows, columns = mm(spacing[1]), mm(spacing[0])
        made.ImagerPixelSpacing = [rows, columns]  # at the detector
        if given.modality == "CR":
            made.PixelSpacing = [rows, columns]
    if given.modality == "DX":
        _digital(made, path)
    return made


def _digital(made: Dataset, path: Path) -> None:
    """What DX asks for beyond CR (DICOM PS3.3, A.26). Raises ImageError without a spacing."""
    if "ImagerPixelSpacing" not in made:
        raise ImageError(f"{path}: DX needs the spacing of its pixels; give it, or take CR")
    made.PresentationIntentType, made.PresentationLUTShape = "FOR PRESENTATION", "IDENTITY"
    made.PixelIntensityRelationship, made.PixelIntensityRelationshipSign = "LIN", -1  # dense is bright
    made.ImageType = ["DERIVED", "PRIMARY", ""]
    made.ImageLaterality, made.DetectorType = "U", ""
    made.BurnedInAnnotation = "YES"  # nobody looked: the cautious answer
    made.PositionerType, made.AcquisitionContextSequence = "", []
    made.AnatomicRegionSequence = _regions(made.BodyPartExamined)
    del made.PatientOrientation  # DX wants a value, which a picture does not tell


def _regions(body_part: str) -> list[Dataset]:
    """The code of a body part (DICOM PS3.16, CID 4031); none for an unknown one."""
    region, known = Dataset(), cast(Any, codes.cid4031)
    for name in known.dir():
        if name.upper() == body_part:
            code = getattr(known, name)
            region.CodeValue, region.CodingSchemeDesignator = code.value, code.scheme_designator
            region.CodeMeaning = code.meaning
            return [region]
    return []


def _plane(path: Path) -> tuple[np.ndarray, tuple[float, float] | None]:
    """A picture's pixels (W, H), whole numbers where the file has such, and its spacing (along the columns,
    along the rows) in mm, None when the file does not say it."""
    array, affine = read_array(path)
    plane = to_grey(array, path)
    if path.name.lower().endswith(VOLUMES):
        return plane, (float(np.linalg.norm(affine[:3, 0])), float(np.linalg.norm(affine[:3, 1])))
    if plane.dtype == bool:
        plane = plane.astype(np.uint8) * 255
    elif array.ndim == 4:  # of colours
        plane = np.rint(plane).astype(array.dtype)
    return plane, None
