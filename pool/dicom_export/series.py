"""Conversion of files to DICOM series, for teams whose images are not on a DICOM server yet.

A picture or one-slice NIfTI file becomes a radiograph, a NIfTI volume one image per slice. Whole numbers are
stored exactly, other values to within half of 1/65,535 of their range. Text burnt into the pixels stays.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from pool.dicom_export.header import CLASSES, PICTURES, VOLUMES, Given, Ids
from pool.dicom_export.radiograph import radiograph
from pool.dicom_export.volume import open_volume, shape_of, slices

__all__ = ["CLASSES", "PICTURES", "VOLUMES", "Given", "Series", "describe"]


@dataclass(frozen=True)
class Series:
    """One file as a DICOM series.

    :param count: number of images
    :param images: generates them in order of their numbers; raises ImageError
    """

    ids: Ids
    count: int
    images: Callable[[], Iterator[Dataset]]


def describe(path: Path, given: Given, patient: str) -> Series:
    """Describe the series a file becomes, without reading its pixels yet.

    :param patient: text that identifies the patient, such as part of the file's name; only its hash is used
    Raises ImageError that names the file and says what to do.
    """
    sources = [given.seed, given.modality, str(given.spacing), given.body_part, _digest(path)]
    number = hmac.new(given.seed.encode(), patient.encode(), hashlib.sha256).hexdigest()[:16]
    ids = Ids(f"P{number}".upper(), sources)
    if given.modality in ("CR", "DX"):
        return Series(ids, 1, lambda: iter([radiograph(path, given, ids)]))
    volume = open_volume(path)
    return Series(ids, shape_of(volume, path)[2], lambda: slices(path, volume, given, ids))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
