"""Final labels of a DICOMweb pool: a sent label becomes a SEG on the server, a SEG becomes a file here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread

from pool.dicomweb.cache import headers_of
from pool.dicomweb.client import DicomServer
from pool.dicomweb.index import Seg
from pool.dicomweb.seg import read_seg, write_seg
from pool.files import fill_folder, replacing, write_atomically
from pool.imaging.digests import label_digest
from pool.imaging.images import image_id
from pool.imaging.label_check import label_extension, may_be_empty
from pool.imaging.label_values import own_values
from pool.imaging.label_writer import write_label
from pool.imaging.labels import LabelError, check_label, grid_of, read_label


def notes_of(label: Path) -> list[str]:
    """Return a sentence on everything in a fetched segmentation that its file here does not hold."""
    file = _notes_file(label)
    return list(json.loads(file.read_bytes())) if file.exists() else []


def _notes_file(label: Path) -> Path:
    return label.with_name(f"{label.name}.notes.json")


class SegFiles:
    """Labels as NIfTI, in `labels/final/<SEG series>/<image>.nii.gz`.

    :param labels: {name: value} that a label may hold
    :param colors: {name: red, green, blue}
    :param codes: {name: value, scheme, meaning} of each structure
    """

    def __init__(
        self,
        folder: Path,
        server: DicomServer,
        labels: Mapping[str, int],
        colors: Mapping[str, Sequence[int]],
        codes: Mapping[str, Sequence[str]],
    ) -> None:
        self._folder, self._server = folder, server
        self._labels, self._colors, self._codes = labels, colors, codes

    def _file(self, seg: str, image: str) -> Path:
        return self._folder / "labels" / "final" / seg / f"{image_id(image)}.nii.gz"

    def store(
        self, sent: str, image: str, series: Path, info: Mapping[str, Any], notes: list[str]
    ) -> tuple[Dataset, np.ndarray]:
        """Check a label file, and store it on the server; returns the SEG, and the label on the image's grid.

        :param sent: PNG, NIfTI, NRRD, or what OHIF sends (.bin)
        :param image: path of the image
        :param series: folder of the image's DICOM files
        :param info: what was sent with the label
        :param notes: gets a sentence on everything that is not kept as the file has it
        Raises LabelError when it does not fit, ServerError when the server did not keep it.
        """
        with own_values(sent, info, self._labels) as label:
            plane = self._checked(label, image, may_be_empty(info), notes)
        seg = write_seg(plane, headers_of(series), self._labels, self._colors, self._codes)
        target = self._file(str(seg.SeriesInstanceUID), image)
        self._write(target, plane, image)  # first, so that a full disk is noticed before the upload
        try:
            self._server.store(seg)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return seg, plane

    def digest(self, label: str, image: str) -> str:
        """Return the digest of a fetched label. Raises LabelError."""
        return label_digest(read_label(label, self._labels, image))

    def segmentation(self, label: str, image: str, series: Path) -> Dataset:
        """Return a prediction as SEG, which is not stored; parameters as of `store`. Raises LabelError."""
        plane = self._checked(label, image, True, [])
        return write_seg(plane, headers_of(series), self._labels, self._colors, self._codes)

    def _checked(self, sent: str, image: str, allow_empty: bool, notes: list[str]) -> np.ndarray:
        """Return a sent label as (W, H) or (W, H, D) on the image's grid. Raises LabelError."""
        if not sent.lower().endswith(".bin"):
            label_extension(sent)
            return check_label(sent, self._labels, image, allow_empty, notes)
        shape, _ = grid_of(image)  # OHIF: one byte per pixel, row by row, slice by slice
        pixels, count = np.fromfile(sent, np.uint8), int(np.prod(shape))
        if pixels.size != count:
            raise LabelError(f"{pixels.size} bytes were sent for {count} pixels; send one per pixel")
        converted = Path(f"{sent}.nii.gz")
        try:
            self._write(converted, pixels.reshape(shape, order="F"), image)
            return self._checked(str(converted), image, allow_empty, notes)
        finally:
            converted.unlink(missing_ok=True)

    def fetch(self, seg: Seg, image: str, series: Callable[[], Path]) -> Path:
        """Return the file of a label, downloaded and converted when it is not here yet.

        :param image: path of the image
        :param series: gives the folder of the image's DICOM files; asked for a volume only
        Raises LabelError when the SEG cannot be used, SeriesError or ServerError when it cannot be had.
        """
        target = self._file(seg.series, image)
        if target.exists():
            return target
        downloaded = fill_folder(
            self._folder / "segs" / seg.series,
            lambda folder: self._server.download(seg.study, seg.series, folder),
        )
        shape, _ = grid_of(image)
        images = headers_of(series()) if len(shape) == 3 else []
        try:
            file = sorted(downloaded.glob("*.dcm"))[-1]
            notes: list[str] = []
            plane = read_seg(dcmread(file), self._labels, shape, images, notes)
        except LabelError as error:
            raise LabelError(f"segmentation {seg.series} of image {image}: {error}") from error
        except Exception as error:  # pydicom raises many kinds for a damaged file
            raise LabelError(f"segmentation {seg.series} of {image} cannot be read: {error}") from error
        if notes:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(_notes_file(target), json.dumps(notes).encode())
        self._write(target, plane, image)
        return target

    def _write(self, target: Path, plane: np.ndarray, image: str) -> None:
        """Write a label on the grid of its image."""
        with replacing(target) as part:
            write_label(part, plane, grid_of(image)[1], self._labels, {}, image)
