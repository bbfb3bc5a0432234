"""A pool on a DICOMweb server: series are images, stored segmentations (SEG) are final labels.

The server is asked in the background; a click looks at memory and at files that are already here. Several
annotation servers may share one DICOM server, which alone knows what is labelled.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.config import Settings, settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag
from pydicom import Dataset

from pool.dicomweb.cache import convert, fill_folder, remove_parts, replacing
from pool.dicomweb.client import DicomServer, SeriesError, ServerError
from pool.dicomweb.index import Index
from pool.dicomweb.labels import SegFiles
from pool.imaging.images import ImageError
from pool.imaging.label_check import check_tag, label_extension, unknown_image
from pool.imaging.labels import LabelError

logger = logging.getLogger(__name__)
Saved = Callable[[str, str, dict[str, Any]], None]


def search_filters(modalities: Sequence[str]) -> list[dict[str, Any]]:
    """One search per modality (QIDO has no "or"), or what MONAI_LABEL_DICOMWEB_SEARCH_FILTER says."""
    chosen = settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER
    if chosen != Settings.model_fields["MONAI_LABEL_DICOMWEB_SEARCH_FILTER"].default:
        return [chosen]
    return [{"Modality": modality} for modality in modalities]


class DicomWebPool(DICOMWebDatastore):
    """The series of a DICOMweb server that fit a search.

    :param url: of the DICOMweb service
    :param folder: for what is downloaded and remembered
    :param labels: {name: value} that a final label may hold
    :param filters: QIDO searches; an image fits one of them
    :param colors: {name: red, green, blue}, written into the SEG
    :param codes: {name: value, scheme, meaning} of each structure, written into the SEG
    :param changed: called when images or labels came or went on the server
    :param saved: called as saved(image, tag, info) after a label is kept
    :param read_only: True in the children: they ask nothing that the server wrote down, and write no index
    :param every: seconds between two looks at the server, at least
    Raises ServerError when the server is down.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        labels: Mapping[str, int],
        filters: Sequence[Mapping[str, Any]],
        *,
        colors: Mapping[str, Sequence[int]] | None = None,
        codes: Mapping[str, Sequence[str]] | None = None,
        changed: Callable[[], None] | None = None,
        saved: Saved | None = None,
        read_only: bool = False,
        every: float = 25.0,
        page: int = 500,
    ) -> None:
        self._server = DicomServer(url, page)
        self._client = self._server.client
        self._changed, self._saved, self._read_only, self._every = changed, saved, read_only, every
        self._lock, self._looked, self._down = threading.RLock(), 0.0, False
        self._skipped: dict[str, str] = {}
        self._folder, self._segs = folder, SegFiles(folder, self._server, labels, colors or {}, codes or {})
        # not DICOMWebDatastore's: it watches its own cache, and writes in every process
        LocalDatastore.__init__(self, str(folder), auto_reload=False, read_only=True)
        self._index = Index(folder, labels, self._server, filters)
        if read_only and self._index.load():
            return
        if not read_only:
            remove_parts(folder)
        self._index.look(write=not read_only)
        self._looked = time.monotonic()

    # what there is ------------------------------------------------------------------------------------

    def list_images(self) -> list[str]:
        """UIDs of all series, sorted; the same list until one comes or goes."""
        return self._index.view.images

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """UIDs of series with a final label, sorted."""
        return self._index.view.labelled

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """UIDs of series without a final label, sorted."""
        view = self._index.view
        return [image for image in view.images if image not in view.segs]

    def has_image(self, image_id: str) -> bool:
        return image_id in self._index.view.info

    def is_labelled(self, image_id: str) -> bool:
        return image_id in self._index.view.segs

    def count_labelled(self) -> int:
        return len(self._index.view.labelled)

    def take_over_changes(self) -> None:
        """Look at the server again, unless that was a moment ago; an outage leaves what is known."""
        if time.monotonic() - self._looked < self._every:
            return
        if self._read_only:
            self._index.load()
            return
        self._looked = time.monotonic()
        try:
            changed = self._index.look()
        except ServerError as error:
            if not self._down:
                logger.error("%s; until then the pool stays as it is", error.detail)
            self._down = True
            return
        if self._down:
            logger.info("The DICOM server %s answers again", self._server.url)
        self._down = False
        if changed and self._changed:
            self._changed()

    def refresh(self) -> None:
        """MONAI Label's name for `take_over_changes`, at once."""
        self._looked = 0.0
        self.take_over_changes()

    # images -------------------------------------------------------------------------------------------

    def get_image_uri(self, image_id: str) -> str:
        """Path of the series as NIfTI, "" for an unknown one; downloaded when it is not here yet.

        Raises SeriesError when this series cannot be used, ServerError when the server is down.
        """
        if not self.has_image(image_id):
            return ""
        target = self._folder / f"{image_id}.nii.gz"
        if not target.exists():
            series = self._series(image_id)
            try:
                convert(series, target)
            except SeriesError:  # it is fetched again, for it may be repaired on the server
                shutil.rmtree(series, ignore_errors=True)
                raise
        return str(target)

    def _series(self, image_id: str) -> Path:
        """The folder of the series' DICOM files."""
        study = self._index.view.info[image_id]["StudyInstanceUID"]
        return fill_folder(
            self._folder / image_id, lambda folder: self._server.download(study, image_id, folder)
        )

    def prefetch(self, images: Sequence[str]) -> None:
        """Have these images here before they are asked for; one that cannot be had is named and skipped."""
        for image in images:
            try:
                self.get_image_uri(image)
                self._skipped.pop(image, None)
            except SeriesError as error:
                if self._skipped.get(image) != error.detail:
                    logger.error("Image %s is skipped: %s", image, error.detail)
                self._skipped[image] = error.detail
            except ServerError as error:
                logger.error("Images are not fetched ahead: %s", error.detail)
                return

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What the server told of the series (study, patient, ...), and what clients added."""
        if not self.has_image(image_id):
            return {}
        name = f"{image_id}.nii.gz"
        base = {**self._index.view.info[image_id], "name": name, "path": str(self._folder / name)}
        return base | {k: v for k, v in super().get_image_info(image_id).items() if k != "path"}

    def patient_of(self, image_id: str) -> str | None:
        """The series' PatientID; None when it has none."""
        known: Mapping[str, str] = self._index.view.info.get(image_id, {})
        return known.get("PatientID", "").strip() or None

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        with self._lock:
            noted = self._noted(image_id)
            if info.keys() == {"strategy"}:  # comes with each click, and the ledger has it
                noted.image.info.update(info)
            else:
                super().update_image_info(image_id, info)

    def _noted(self, image_id: str) -> ImageLabelModel:
        """The image's entry in the local notes. Raises HTTPException 404."""
        if not self.has_image(image_id):
            raise unknown_image(image_id)
        new = ImageLabelModel(image=DataModel(ext=".nii.gz"))
        return self._datastore.objects.setdefault(image_id, new)

    # labels -------------------------------------------------------------------------------------------

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """Path of a label, "" when there is none. A final one is the image's newest SEG as NIfTI.

        Raises LabelError when the SEG cannot be used, SeriesError or ServerError when it cannot be fetched.
        """
        if label_tag != DefaultLabelTag.FINAL:
            return str(LocalDatastore.get_label_uri(self, label_id, label_tag))
        image = image_id or label_id
        seg = self._index.view.segs.get(image)
        if seg is None:
            return ""
        return str(self._segs.fetch(seg, self.get_image_uri(image), partial(self._series, image)))

    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any],
        label_id: str = "",
    ) -> str:
        """Check a final label, then store it on the server as SEG; other tags stay on this machine.

        Raises HTTPException: 400 for a strange tag, 404 for an unknown image, 422 for a label that does not
        fit, 502 or 503 when the DICOM server refuses or is down, 507 for a full disk. Nothing counts as
        labelled then.
        """
        check_tag(label_tag)
        if not self.has_image(image_id):
            raise unknown_image(image_id)
        info = dict(label_info or {})
        try:
            if label_tag == DefaultLabelTag.FINAL:
                self._save_final(image_id, label_filename, info)
            else:
                self._save_other(image_id, Path(label_filename), label_tag, info)
        except LabelError as error:
            raise HTTPException(422, f"label for {image_id}: {error}") from error
        except ServerError as error:
            raise HTTPException(
                error.status_code, f"label for {image_id} is not saved: {error.detail}"
            ) from error
        except OSError as error:
            raise HTTPException(
                507,
                f"label for {image_id}: the server could not write it ({error}); "
                "make room on its disk, then save the label again",
            ) from error
        try:
            if self._saved:
                self._saved(image_id, label_tag, info)
        except Exception:  # the label is kept, which is what counts
            logger.exception("What follows the label of %s failed", image_id)
        return image_id

    def segmentation(self, image_id: str, label: str) -> Dataset:
        """A prediction for a series as DICOM SEG. Raises HTTPException 404, 422, 503."""
        if not self.has_image(image_id):
            raise unknown_image(image_id)
        try:
            return self._segs.segmentation(label, self.get_image_uri(image_id), self._series(image_id))
        except LabelError as error:
            raise HTTPException(422, f"the prediction for {image_id}: {error}") from error

    def _save_final(self, image: str, sent: str, info: dict[str, Any]) -> None:
        uri = self.get_image_uri(image)
        seg = self._segs.store(sent, uri, self._series(image), info)
        info |= {
            "SeriesInstanceUID": str(seg.SeriesInstanceUID),
            "StudyInstanceUID": str(seg.StudyInstanceUID),
            "Modality": "SEG",
        }
        try:
            self._index.add_own(image, seg)
            self._note_label(image, DefaultLabelTag.FINAL, ".nii.gz", info)
        except OSError:  # the label is on the DICOM server, which is what counts
            logger.exception("What follows the label of %s failed", image)
        logger.info("Label of %s stored on %s as SEG %s", image, self._server.url, seg.SeriesInstanceUID)

    def _save_other(self, image: str, sent: Path, tag: str, info: dict[str, Any]) -> None:
        ext = ".bin" if sent.suffix == ".bin" else label_extension(str(sent))
        with replacing(Path(self._datastore.label_path(tag)) / f"{image}{ext}") as part:
            part.write_bytes(sent.read_bytes())
        self._note_label(image, tag, ext, info)

    def _note_label(self, image: str, tag: str, ext: str, info: dict[str, Any]) -> None:
        with self._lock:
            noted = DataModel(info=info | {"ts": int(time.time()), "name": f"{image}{ext}"}, ext=ext)
            self._noted(image).labels[tag] = noted
            self._update_datastore_file()

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tags of the image's labels."""
        own = {
            t: i for t, i in super().get_labels_by_image_id(image_id).items() if t != DefaultLabelTag.FINAL
        }
        return own | ({DefaultLabelTag.FINAL: image_id} if self.is_labelled(image_id) else {})

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs for training, sorted by image; what is not here is downloaded.

        A pair that cannot be used is named and left out. Raises ServerError when the server is down and
        something is missing here.
        """
        pairs = []
        for image in self.get_labeled_images():
            try:
                pair = {
                    "image": self.get_image_uri(image),
                    "label": self.get_label_uri(image, DefaultLabelTag.FINAL),
                }
            except (ImageError, LabelError) as error:
                logger.error("Left out of the training: %s", error)
                continue
            pairs.append(
                pair if full_path else {k: os.path.relpath(v, self._folder) for k, v in pair.items()}
            )
        return pairs

    # what the DICOM server's own tools are for --------------------------------------------------------

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        raise HTTPException(405, f"store the image on {self._server.url}; it is noticed within a minute")

    def remove_image(self, image_id: str) -> None:
        raise HTTPException(405, f"remove the series on {self._server.url}; it is noticed within a minute")

    def remove_label(self, label_id: str, label_tag: str) -> None:
        if label_tag == DefaultLabelTag.FINAL:
            raise HTTPException(
                405, f"remove the SEG series on {self._server.url}; it is noticed within a minute"
            )
        with self._lock:
            noted = self._datastore.objects.get(label_id)
            if noted is None or label_tag not in noted.labels:
                raise HTTPException(404, f"image {label_id!r} has no label with the tag {label_tag!r}")
            Path(LocalDatastore.get_label_uri(self, label_id, label_tag)).unlink(missing_ok=True)
            noted.labels.pop(label_tag)
            self._update_datastore_file()

    # MONAI Label's own view ---------------------------------------------------------------------------

    def name(self) -> str:
        return self._server.url

    def status(self) -> dict[str, Any]:
        """Numbers of images, final labels, and labels by tag."""
        tags: dict[str, int] = {DefaultLabelTag.FINAL.value: self.count_labelled()}
        for noted in list(self._datastore.objects.values()):
            for tag in noted.labels:
                tags[tag] = tags.get(tag, 0) + (tag != DefaultLabelTag.FINAL)
        return {
            "total": len(self.list_images()),
            "completed": self.count_labelled(),
            "label_tags": {tag: count for tag, count in tags.items() if count},
        }

    def json(self) -> dict[str, Any]:
        """Every image with its information and its labels."""
        objects = {
            image: {
                "image": {"ext": ".nii.gz", "info": self.get_image_info(image)},
                "labels": {
                    tag: {"ext": ".nii.gz", "info": self.get_label_info(image, tag)}
                    for tag in self.get_labels_by_image_id(image)
                },
            }
            for image in self.list_images()
        }
        return {**super().json(), "objects": objects}

    def _update_datastore_file(self, lock: bool = True) -> None:
        if self._read_only:
            return
        with self._lock, replacing(Path(self._datastore_config_path)) as part:
            part.write_text(self._datastore.model_dump_json(exclude={"base_path"}, indent=1))
