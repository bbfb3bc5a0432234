"""The header of a new DICOM image, and how its pixels are kept.

Nothing of the file that it is made from goes into the header but pixels, spacing and position. Identifiers
are hashes: of the file's bytes for study, series and images, so that the same file always becomes the same
DICOM images and a changed one others; of what tells the patient for the patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset, validate_file_meta
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from pool.imaging.images import ImageError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
VOLUMES = (".nii", ".nii.gz")
CLASSES = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "MR": MRImageStorage,
    "CT": CTImageStorage,
}
_MAX_VALUE = 65_535  # of 16 bits without a sign


@dataclass(frozen=True)
class Given:
    """What is said about all files of a folder.

    :param modality: CR or DX for radiographs, MR or CT for volumes
    :param spacing: mm of a pixel of a picture, both ways; None when it is not known
    :param body_part: as DICOM names it, such as CHEST; "" for unknown
    :param seed: the same seed gives the same identifiers; without it nobody can tell them from file names
    """

    modality: str
    spacing: float | None = None
    body_part: str = ""
    seed: str = ""


@dataclass(frozen=True)
class Ids:
    patient: str
    sources: list[str]

    def _uid(self, what: str) -> str:
        return str(generate_uid(entropy_srcs=[*self.sources, what]))

    @property
    def study(self) -> str:
        return self._uid("study")

    @property
    def series(self) -> str:
        return self._uid("series")

    @property
    def frame(self) -> str:
        return self._uid("frame of reference")

    def image(self, number: int) -> str:
        return self._uid(f"image {number}")


@dataclass(frozen=True)
class Stored:
    """How values are kept: value = stored * slope + intercept, stored without a sign in 8 or 16 bits."""

    slope: float
    intercept: float
    bits: int

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """(W, H) values as stored, (H, W)."""
        stored = np.rint((values.T.astype(np.float64) - self.intercept) / self.slope)
        return np.clip(stored, 0, _MAX_VALUE).astype("<u1" if self.bits == 8 else "<u2")


def storage_of(values: np.ndarray, path: Path) -> Stored:
    """How to keep values: whole numbers as they are, moved where some are negative; others on 65,536 steps.

    Raises ImageError for values that are not finite.
    """
    if not np.isfinite(values).all():
        raise ImageError(f"{path}: has pixels that are not finite; replace or remove it")
    low, high = float(values.min()), float(values.max())
    if values.dtype == np.uint8:
        return Stored(1.0, 0.0, 8)
    whole = np.issubdtype(values.dtype, np.integer) or bool((values == np.rint(values)).all())
    if whole and low >= 0 and high <= _MAX_VALUE:
        return Stored(1.0, 0.0, 16)
    if whole and high - low <= _MAX_VALUE:
        return Stored(1.0, low, 16)
    # what the header can say: decimal strings have 16 characters; upwards, so that the highest value fits
    slope = float(format_number_as_ds((high - low) / _MAX_VALUE * (1 + 1e-9))) or 1.0
    return Stored(slope, float(format_number_as_ds(low)), 16)


def new_image(ids: Ids, given: Given, number: int, pixels: np.ndarray, stored: Stored) -> FileDataset:
    """What all kinds share: patient, study, series, pixels (H, W)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CLASSES[given.modality]
    meta.MediaStorageSOPInstanceUID = UID(ids.image(number))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.FileMetaInformationGroupLength = 0  # counted when it is written
    validate_file_meta(meta)
    made = FileDataset(
        "", {}, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=True
    )
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.PatientID, made.PatientName = ids.patient, ids.patient
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = "header made anew, identifiers are hashes, pixels unchanged"
    made.StudyInstanceUID, made.SeriesInstanceUID = ids.study, ids.series
    made.Modality, made.BodyPartExamined = given.modality, given.body_part
    made.SeriesNumber, made.InstanceNumber = 1, number
    for keyword in (
        "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
        "ReferringPhysicianName", "Manufacturer", "AcquisitionNumber", "PatientOrientation",
    ):  # fmt: skip
        setattr(made, keyword, "")  # must be there, may be empty
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.Rows, made.Columns = pixels.shape
    made.BitsAllocated = made.BitsStored = stored.bits
    made.HighBit = stored.bits - 1
    if given.modality != "MR" or (stored.slope, stored.intercept) != (1, 0):  # MR has none by itself
        made.RescaleIntercept, made.RescaleSlope = ds(stored.intercept), ds(stored.slope)
        made.RescaleType = "HU" if given.modality == "CT" else "US"
    data = pixels.tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB" if stored.bits == 8 else "OW"
    return made


def set_window(made: Dataset, low: float, high: float) -> None:
    """What viewers show first, in rescaled values."""
    made.WindowCenter, made.WindowWidth = ds((low + high) / 2), ds(max(high - low, 1e-6))


def mm(value: float) -> str:
    """A spacing as a decimal string, without the noise of NIfTI's single precision."""
    return ds(float(f"{value:.7g}"))


def ds(value: float) -> str:
    """A decimal string of 16 characters at most."""
    return str(format_number_as_ds(float(value)))
