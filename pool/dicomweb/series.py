"""The series of a DICOMweb pool as files on this machine, downloaded when they are needed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from pool.dicomweb.cache import convert
from pool.dicomweb.client import DicomServer, SeriesError, ServerError
from pool.dicomweb.index import Index
from pool.files import fill_folder

logger = logging.getLogger(__name__)


class SeriesFiles:
    """Downloaded series in `folder/<series>`, and each as NIfTI in `folder/<series>.nii.gz`."""

    def __init__(self, folder: Path, server: DicomServer, index: Index) -> None:
        self._folder, self._server, self._index = folder, server, index
        self._skipped: dict[str, str] = {}

    def nifti(self, image: str) -> Path:
        """Return the path of a known series as NIfTI, downloaded and converted when it is not here yet.

        Raises SeriesError when this series cannot be used, ServerError when the server is down.
        """
        target = self._folder / f"{image}.nii.gz"
        if not target.exists():
            series = self.dicom(image)
            try:
                convert(series, target)
            except SeriesError:  # it is fetched again, for it may be repaired on the server
                shutil.rmtree(series, ignore_errors=True)
                raise
        return target

    def dicom(self, image: str) -> Path:
        """Return the folder of a known series' DICOM files; errors as of `nifti`."""
        study = self._index.view.info[image]["StudyInstanceUID"]
        return fill_folder(self._folder / image, lambda folder: self._server.download(study, image, folder))

    def prefetch(self, images: Sequence[str]) -> None:
        """Fetch known images before they are asked for; one that cannot be had is named and skipped."""
        for image in images:
            try:
                self.nifti(image)
                self._skipped.pop(image, None)
            except SeriesError as error:
                if self._skipped.get(image) != error.text:
                    logger.error("Image %s is skipped: %s", image, error.text)
                self._skipped[image] = error.text
            except ServerError as error:
                logger.error("Images are not fetched ahead: %s", error.text)
                return
