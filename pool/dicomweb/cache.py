"""Read and convert the downloaded series of a DICOMweb pool, and keep JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.pixel_data_handlers.util import get_expected_length

from pool.dicomweb.client import SeriesError
from pool.files import make_folder, replacing, write_atomically
from pool.imaging.dicom import check_dicom
from pool.imaging.errors import reason_of


def write_json(target: Path, content: Any) -> None:
    """Replace a JSON file whole."""
    make_folder(target.parent)
    write_atomically(target, json.dumps(content).encode())


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote; an empty dict when nothing was."""
    return json.loads(path.read_text()) if path.exists() else {}


def downloads_of(folder: Path, images: Sequence[str], segs: Sequence[str]) -> list[Path]:
    """Return the files and folders of a cache that hold images, their labels, or segmentations, sorted."""
    found: set[Path] = set()
    for image in images:
        found.update(path for path in (folder / image, folder / f"{image}.nii.gz") if path.exists())
        found.update(folder.glob(f"labels/*/{image}.*"))
        found.update(file.parent for file in folder.glob(f"labels/final/*/{image}.nii.gz"))
    named = {*segs, *(path.name for path in found if path.parent == folder / "labels" / "final")}
    found.update(path for name in named if (path := folder / "segs" / name).is_dir())
    return sorted(found)


def patients_of(folder: Path, present: Container[str]) -> dict[str, str]:
    """Return the PatientID of each downloaded series that is not `present`, from its first file."""
    patients: dict[str, str] = {}
    for series in sorted(
        path for path in folder.glob("[0-9]*") if path.is_dir() and path.name not in present
    ):
        if files := sorted(series.glob("*.dcm")):
            header = dcmread(files[0], stop_before_pixels=True, specific_tags=["PatientID"])
            patients[series.name] = str(header.get("PatientID", "")).strip()
    return patients


def _in_order(series: Path) -> list[Path]:
    """Return a series' files along its normal, as ITK stacks them into a volume."""
    files = sorted(series.glob("*.dcm"))
    if len(files) == 1:
        return files
    return [Path(name) for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series))]


def headers_of(series: Path) -> list[Dataset]:
    """Return the headers of a downloaded series, in the order of the slices that `convert` makes of it."""
    return [dcmread(file, stop_before_pixels=True) for file in _in_order(series)]


def convert(series: Path, target: Path) -> None:
    """Write a downloaded series as NIfTI, high values bright: ITK inverts MONOCHROME1.

    Raises SeriesError when it cannot be read.
    """
    try:
        image = _read(_in_order(series))
    except Exception as error:  # ITK and pydicom have errors of their own
        raise SeriesError(
            f"series {series.name} cannot be converted ({reason_of(error, series)}); "
            "repair or remove it on the server"
        ) from error
    with replacing(target) as part:
        sitk.WriteImage(image, str(part))


def _read(files: list[Path]) -> sitk.Image:
    for file in files:
        check_dicom(file)
        _check_length(dcmread(file))
    _check_labellable([dcmread(file, stop_before_pixels=True) for file in files])
    names, header = [str(file) for file in files], dcmread(files[0], stop_before_pixels=True)
    image = sitk.ReadImage(names if len(names) > 1 else names[0], imageIO="GDCMImageIO")
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if spacing and "ImagePositionPatient" not in header:  # a radiograph: ITK looks at one of the two only
        image.SetSpacing((float(spacing[1]), float(spacing[0]), *image.GetSpacing()[2:]))
    return image


def _check_length(image: Dataset) -> None:
    """Raise ValueError when pixels are missing, which ITK makes up silently."""
    if image.file_meta.TransferSyntaxUID.is_compressed:
        return
    expected, present = get_expected_length(image), len(image.PixelData)
    if present < expected:
        raise ValueError(f"it has {present} of {expected} bytes of pixels")


def _check_labellable(images: list[Dataset]) -> None:
    """Raise ValueError for a series of which no label could be stored: its slices are not one volume."""
    frames = max(int(image.get("NumberOfFrames", 1) or 1) for image in images)
    if frames > 1:
        raise ValueError(f"it has {frames} frames in one file, and labels need one file per slice: split it")
    if len(images) < 2 or "ImagePositionPatient" not in images[0]:
        return
    rows, columns = np.array(images[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(rows, columns)
    places = [float(np.dot(normal, np.array(image.ImagePositionPatient, dtype=float))) for image in images]
    shared = len(places) - len({round(place, 3) for place in places})
    if shared:
        raise ValueError(
            f"{shared} of its {len(places)} slices lie where another one does, as in a series of several "
            "phases or echoes: store each as a series of its own"
        )
