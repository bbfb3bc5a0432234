"""The files of a DICOMweb pool on this machine: downloaded series, converted images, what is remembered.

Everything appears under its name whole or not at all, and what several processes write at once is the same.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.pixel_data_handlers.util import get_expected_length

from pool.dicomweb.client import SeriesError

_TEMPORARY = ".part-"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path to write to that takes the target's place when the block ends well; else nothing is left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{_TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}-{target.name}")
    try:
        yield part
        _settle(part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def fill_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """A folder made whole by `fill`, unless it is there."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=target.parent))
    try:
        fill(part)
        for file in part.iterdir():
            _settle(file)
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster, with the same series
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def remove_parts(folder: Path) -> None:
    """Remove what killed downloads left."""
    for part in folder.rglob(f"{_TEMPORARY}*"):
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)


def write_json(target: Path, content: Any) -> None:
    with replacing(target) as part:
        part.write_text(json.dumps(content))


def read_json(path: Path) -> Any:
    """What `write_json` wrote; an empty dict when nothing was."""
    return json.loads(path.read_text()) if path.exists() else {}


def _in_order(series: Path) -> list[Path]:
    """A series' files along its normal, as ITK stacks them into a volume."""
    files = sorted(series.glob("*.dcm"))
    if len(files) == 1:
        return files
    return [Path(name) for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series))]


def headers_of(series: Path) -> list[Dataset]:
    """The headers of a downloaded series, in the order of the slices that `convert` makes of it."""
    return [dcmread(file, stop_before_pixels=True) for file in _in_order(series)]


def convert(series: Path, target: Path) -> None:
    """A downloaded series as NIfTI, high values bright: ITK turns MONOCHROME1 round.

    Raises SeriesError when it cannot be read.
    """
    try:
        image = _read(_in_order(series))
    except Exception as error:  # ITK and pydicom have errors of their own
        reason = " ".join(str(error).strip().splitlines()[-1:])
        raise SeriesError(
            f"series {series.name} cannot be converted ({reason}); repair or remove it on the server"
        ) from error
    with replacing(target) as part:
        sitk.WriteImage(image, str(part))


def _read(files: list[Path]) -> sitk.Image:
    for file in files:
        _check_length(dcmread(file))
    names, header = [str(file) for file in files], dcmread(files[0], stop_before_pixels=True)
    image = sitk.ReadImage(names if len(names) > 1 else names[0], imageIO="GDCMImageIO")
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if spacing and "ImagePositionPatient" not in header:  # a radiograph: ITK looks at one of the two only
        image.SetSpacing((float(spacing[1]), float(spacing[0]), *image.GetSpacing()[2:]))
    return image


def _check_length(image: Dataset) -> None:
    """Raises ValueError when pixels are missing, which ITK makes up silently."""
    if image.file_meta.TransferSyntaxUID.is_compressed:
        return
    expected, there = get_expected_length(image), len(image.PixelData)
    if there < expected:
        raise ValueError(f"it has {there} of {expected} bytes of pixels")


def _settle(file: Path) -> None:
    """On disk before it gets its name."""
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
