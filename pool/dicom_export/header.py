"""Headers of new DICOM images, and how pixel values are stored.

Only pixels, spacing and position are taken from the source file. Identifiers are hashes: study, series and
image UIDs of the file's bytes, so that the same file always gives the same DICOM images and a changed file
gives different ones; the patient's of the text that identifies the patient.
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
_MAX_VALUE = 65_535  # of unsigned 16-bit pixels


@dataclass(frozen=True)
class Given:
    """Facts that hold for all files of a folder.

    :param modality: CR or DX for radiographs, MR or CT for volumes
    :param spacing: pixel size of a picture in mm, in both directions; None when unknown
    :param body_part: as DICOM names it, such as CHEST; "" when unknown
    :param seed: secret part of all hashes: the same seed gives the same identifiers, and without it nobody
        can derive them from file names
    """

    modality: str
    spacing: float | None = None
    body_part: str = ""
    seed: str = ""


@dataclass(frozen=True)
class Ids:
    """Identifiers of one file's DICOM images: the patient's, and UIDs hashed from `sources`."""

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
    """Pixel storage: value = stored * slope + intercept, stored as unsigned 8 or 16 bits."""

    slope: float
    intercept: float
    bits: int

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """Return (W, H) values as stored pixels, (H, W)."""
        stored = np.rint((values.T.astype(np.float64) - self.intercept) / self.slope)
        return np.clip(stored, 0, _MAX_VALUE).astype("<u1" if self.bits == 8 else "<u2")


def storage_of(values: np.ndarray, path: Path) -> Stored:
    """Choose the storage of values: whole numbers exactly (shifted if negative), others in 65,536 steps.

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
    # decimal strings in the header have 16 characters; rounded up, so that the highest value fits
    slope = float(format_number_as_ds((high - low) / _MAX_VALUE * (1 + 1e-9))) or 1.0
    return Stored(slope, float(format_number_as_ds(low)), 16)


def new_image(ids: Ids, given: Given, number: int, pixels: np.ndarray, stored: Stored) -> FileDataset:
    """Make an image with what all modalities share: patient, study, series, pixels (H, W)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CLASSES[given.modality]
    meta.MediaStorageSOPInstanceUID = UID(ids.image(number))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.FileMetaInformationGroupLength = 0  # filled in on writing
    validate_file_meta(meta)
    image = FileDataset(
        "", {}, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=True
    )
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.PatientID, image.PatientName = ids.patient, ids.patient
    image.PatientIdentityRemoved = "YES"
    image.DeidentificationMethod = "header made anew, identifiers are hashes, pixels unchanged"
    image.StudyInstanceUID, image.SeriesInstanceUID = ids.study, ids.series
    image.Modality, image.BodyPartExamined = given.modality, given.body_part
    image.SeriesNumber, image.InstanceNumber = 1, number
    for keyword in (
        "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
        "ReferringPhysicianName", "Manufacturer", "AcquisitionNumber", "PatientOrientation",
    ):  # fmt: skip
        setattr(image, keyword, "")  # required, may be empty
    image.ImageType = ["DERIVED", "PRIMARY"]
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated = image.BitsStored = stored.bits
    image.HighBit = stored.bits - 1
    if given.modality != "MR" or (stored.slope, stored.intercept) != (1, 0):  # optional in MR
        image.RescaleIntercept, image.RescaleSlope = ds(stored.intercept), ds(stored.slope)
        image.RescaleType = "HU" if given.modality == "CT" else "US"
    data = pixels.tobytes()
    image.PixelData = data + b"\0" * (len(data) % 2)
    image["PixelData"].VR = "OB" if stored.bits == 8 else "OW"
    return image


def set_window(image: Dataset, low: float, high: float) -> None:
    """Set the window that viewers show first, in rescaled values."""
    image.WindowCenter, image.WindowWidth = ds((low + high) / 2), ds(max(high - low, 1e-6))


def mm(value: float) -> str:
    """Format a spacing as a decimal string, without the noise of NIfTI's single precision."""
    return ds(float(f"{value:.7g}"))


def ds(value: float) -> str:
    """Format a decimal string of at most 16 characters."""
    return str(format_number_as_ds(float(value)))
