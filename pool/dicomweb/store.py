"""A pool on a DICOMweb server: series are images, stored segmentations (SEG) are final labels.

The server is asked in the background; a click looks at memory and at files that are already here. Several
annotation servers may share one DICOM server, which alone knows what is labelled.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from typing import Any

from monailabel.config import Settings, settings
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from pydicom import Dataset

from pool.dataset_archive import write_archive
from pool.dicomweb.bearer import Bearer
from pool.dicomweb.cache import downloads_of, patients_of
from pool.dicomweb.client import DicomServer, ServerError
from pool.dicomweb.index import Index
from pool.dicomweb.labels import SegFiles, notes_of
from pool.dicomweb.notes import Notes
from pool.dicomweb.series import SeriesFiles
from pool.errors import PoolError
from pool.files import cannot_write, clean_cache, replacing
from pool.imaging.digests import label_digest
from pool.imaging.images import ImageError
from pool.imaging.label_check import (
    EmptySaves,
    check_tag,
    label_extension,
    plain_info,
    unknown_image,
    with_verdict,
    with_warnings,
)
from pool.imaging.labels import LabelError
from pool.imaging.names import EmptyLabel
from pool.label_states import Judge, verdict_on
from pool.protocol import Finding, LabelCheck, RefusedLabel

logger = logging.getLogger(__name__)
Saved = Callable[[str, str, dict[str, Any]], None]
FINAL = DefaultLabelTag.FINAL.value


def search_filters(modalities: Sequence[str]) -> list[dict[str, Any]]:
    """Return one search per modality (QIDO has no "or"), or MONAI_LABEL_DICOMWEB_SEARCH_FILTER if set."""
    chosen = settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER
    if chosen != Settings.model_fields["MONAI_LABEL_DICOMWEB_SEARCH_FILTER"].default:
        return [chosen]
    return [{"Modality": modality} for modality in modalities]


class DicomWebPool(Datastore):
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
    :param trusts_files: False: labels that others stored count once `take_in_checks` says so
    :param judge: compares a label that is being saved with predictions and with other labels
    :param counts_unedited: labels that equal a prediction or another label count before they are confirmed
    :param accepts_empty: final labels without a voxel count, without a word of whoever made them
    :param bearer: signs the requests to the server
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
        trusts_files: bool = True,
        judge: Judge | None = None,
        counts_unedited: bool = False,
        accepts_empty: bool = False,
        bearer: Bearer | None = None,
    ) -> None:
        self._server, self._folder = DicomServer(url, page, bearer), folder
        self._changed, self._saved, self._read_only, self._every = changed, saved, read_only, every
        self._looked, self._down, self.newest_check = 0.0, False, 0
        self._notes, self._judge = Notes(folder, read_only), judge
        self._empty_saves = EmptySaves(accepts_empty)
        self._index = Index(folder, labels, self._server, filters, trusts_files, counts_unedited)
        self._series = SeriesFiles(folder, self._server, self._index)
        self._segs = SegFiles(folder, self._server, labels, colors or {}, codes or {})
        if read_only and self._index.load():
            return
        if not read_only:
            clean_cache(folder)
        self._index.look(write=not read_only)
        self._looked = time.monotonic()

    # the server ---------------------------------------------------------------------------------------

    def take_over_changes(self) -> None:
        """Look at the server again, unless that was a moment ago; an outage changes nothing."""
        if not self._read_only:
            self._notes.take_over_labels()
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
                logger.error("%s; until then the pool stays as it is", error.text)
            self._down = True
            return
        if self._down:
            logger.info("The DICOM server %s answers again", self._server.url)
        self._down = False
        if changed and self._changed:
            self._changed()

    def refresh(self) -> None:
        """Look at the server at once."""
        self._looked = 0.0
        self.take_over_changes()

    # images -------------------------------------------------------------------------------------------

    def list_images(self) -> list[str]:
        """Return the UIDs of all series, sorted; the same list until one comes or goes."""
        return self._index.view.images

    def has_image(self, image_id: str) -> bool:
        """Tell whether the pool holds this image now."""
        return image_id in self._index.view.info

    def _check_image(self, image: str) -> None:
        if not self.has_image(image):
            raise unknown_image(image)

    def get_image_uri(self, image_id: str) -> str:
        """Return the path of the series as NIfTI, "" for an unknown one; downloaded when it is not here.

        Raises SeriesError when this series cannot be used, ServerError when the server is down.
        """
        return str(self._series.nifti(image_id)) if self.has_image(image_id) else ""

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO | None:
        """Return the bytes of an image's file; None for an unknown image."""
        uri = self.get_image_uri(image_id)
        return io.BytesIO(Path(uri).read_bytes()) if uri else None

    def fingerprints(self, images: Sequence[str]) -> dict[str, str]:
        """Map every image to the same word: a DICOM series never changes under its UID, so it is not read."""
        return dict.fromkeys(images, "series")

    def prefetch(self, images: Sequence[str]) -> None:
        """Fetch images before they are asked for; one that cannot be had is named and skipped."""
        self._series.prefetch([image for image in images if self.has_image(image)])

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Return what the server told of the series (study, patient, ...), and what clients added."""
        if not self.has_image(image_id):
            return {}
        name = f"{image_id}.nii.gz"
        base = {**self._index.view.info[image_id], "name": name, "path": str(self._folder / name)}
        return base | {key: value for key, value in self._notes.info(image_id).items() if key != "path"}

    def patient_of(self, image_id: str) -> str | None:
        """Return the series' PatientID; None when it has none."""
        info: Mapping[str, str] = self._index.view.info.get(image_id, {})
        return info.get("PatientID", "").strip() or None

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is noted of an image."""
        self._check_image(image_id)
        self._notes.add_info(image_id, plain_info(info))

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refuse (405): images come to the DICOM server by its own tools."""
        raise PoolError(405, f"store the image on {self._server.url}; it is noticed within a minute")

    def remove_image(self, image_id: str) -> None:
        """Refuse (405): images leave the DICOM server by its own tools."""
        raise PoolError(405, f"remove the series on {self._server.url}; it is noticed within a minute")

    # privacy ------------------------------------------------------------------------------------------

    def kept_in_studies(self, images: Sequence[str]) -> list[str]:
        """Return the series of images that the DICOM server has, and the segmentations of them."""
        present = [f"series {image}" for image in images if self.has_image(image)]
        return present + [f"SEG series {series}" for series in self._index.segs_of(images)]

    def cached(self, images: Sequence[str]) -> list[Path]:
        """Return the files and folders on this machine that hold images, or labels of them."""
        return downloads_of(self._folder, images, self._index.segs_of(images))

    def cached_patients(self) -> dict[str, str]:
        """Return the PatientID of downloaded series that have left the server, from their own headers."""
        return patients_of(self._folder, self._index.view.info)

    def forget(self, images: Sequence[str]) -> None:
        """Remove the downloads of images that have left the server, and what is noted of them."""
        for path in self.cached(images):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._notes.forget(images)

    # labels -------------------------------------------------------------------------------------------

    ignored_files = unwritable = ""  # a folder's matters

    @property
    def unchecked_labels(self) -> AbstractSet[str]:
        """Images with a segmentation that others stored and that is not checked yet."""
        return self._index.view.unchecked

    @property
    def unedited_labels(self) -> AbstractSet[str]:
        """Images with a segmentation that equals a prediction and does not count until it is confirmed."""
        return self._index.view.unedited

    @property
    def refused_labels(self) -> dict[str, RefusedLabel]:
        """Segmentations that do not count, by image."""
        view = self._index.view
        return {image: RefusedLabel(view.segs[image].series, why) for image, why in view.refused.items()}

    def label_fingerprints(self, images: Sequence[str] | None = None) -> dict[str, str]:
        """Map images with a segmentation, by default all, to its series, which never changes."""
        segs = self._index.view.segs
        return {image: segs[image].series for image in (segs if images is None else images) if image in segs}

    def label_version(self, image_id: str) -> int:
        """Return the number of segmentations of an image: its label is the newest; 0 without one."""
        return self._index.count_labels(image_id)

    def check_label(self, image_id: str, notes: list[str] | None = None) -> Finding:
        """Read a segmentation; return why it does not count, and its digest.

        :param notes: gets a sentence on everything in it that is not used

        Raises ServerError when the server is down.
        """
        try:
            file = self.get_label_uri(image_id, FINAL)
            if file and notes is not None:
                notes += notes_of(Path(file))
            return Finding("", self._segs.digest(file, self.get_image_uri(image_id)) if file else "")
        except (ImageError, LabelError) as error:
            return Finding(str(error))

    def take_in_checks(self, checks: Iterable[LabelCheck]) -> None:
        """Count segmentations, or not, by their checks."""
        if rows := list(checks):
            self._index.settle(rows)
            self.newest_check = max(self.newest_check, rows[-1].number)

    def is_labelled(self, image_id: str) -> bool:
        """Tell whether the image has a final label that counts now."""
        view = self._index.view
        waits = image_id in view.unchecked or image_id in view.unedited
        return image_id in view.segs and not waits and image_id not in view.refused

    def count_labelled(self) -> int:
        """Count the images with a final label."""
        return len(self._index.view.labelled)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Return the UIDs of series with a final label, sorted."""
        return self._index.view.labelled

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Return the UIDs of series without a final label, sorted."""
        return [image for image in self._index.view.images if not self.is_labelled(image)]

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Map the tags of an image's labels to their ids, which are the image's."""
        tags = [tag for tag in self._notes.tags(image_id) if tag != FINAL]
        return dict.fromkeys([*tags, FINAL] if image_id in self._index.view.segs else tags, image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Return the id of an image's label with a tag, "" when there is none."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """Return the path of a label, "" when there is none. A final one is the newest SEG as NIfTI.

        Raises LabelError when the SEG cannot be used, SeriesError or ServerError when it cannot be fetched.
        """
        if label_tag != FINAL:
            return self._notes.label_uri(label_id, label_tag)
        image = image_id or label_id
        if (seg := self._index.view.segs.get(image)) is None:
            return ""
        return str(self._segs.fetch(seg, self.get_image_uri(image), partial(self._series.dicom, image)))

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO | None:
        """Return the bytes of a label's file; None when there is none."""
        uri = self.get_label_uri(label_id, label_tag)
        return io.BytesIO(Path(uri).read_bytes()) if uri else None

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return what is noted of a label; {} for an unknown one."""
        return self._notes.label_info(label_id, label_tag)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is noted of a label."""
        self._notes.add_label_info(label_id, label_tag, plain_info(info))

    def save_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any],
        label_id: str = "",
    ) -> str:
        """Check a final label, then store it on the server as SEG; other tags stay on this machine.

        Raises PoolError: 400 for a strange tag, 404 for an unknown image, 422 for a label that does not
        fit, 502 or 503 when the DICOM server refuses or is down, 507 for a full disk. Nothing counts as
        labelled then.
        """
        tag, info = check_tag(label_tag), plain_info(label_info)
        self._check_image(image_id)
        try:
            if tag == FINAL:
                info.pop("warnings", None)
                self._save_final(image_id, label_filename, info)
            else:
                self._save_other(image_id, Path(label_filename), tag, info)
        except LabelError as error:
            if isinstance(error, EmptyLabel):
                self._empty_saves.refuse(image_id, info)
            raise PoolError(422, f"label for {image_id}: {error}") from error
        except ServerError as error:
            raise PoolError(error.status, f"label for {image_id} is not saved: {error.text}") from error
        except OSError as error:
            raise cannot_write(f"label for {image_id}", error) from error
        try:
            if self._saved:
                self._saved(image_id, tag, info)
        except Exception:  # the label is kept, which is what counts
            logger.exception("Telling the server about the label of %s failed", image_id)
        return image_id

    def _save_final(self, image: str, sent: str, info: dict[str, Any]) -> None:
        notes: list[str] = []
        path, series = self.get_image_uri(image), self._series.dicom(image)
        empty = {"empty": True} if self._empty_saves.is_meant(image, info) else {}
        seg, label = self._segs.store(sent, path, series, info | empty, notes)
        digest = label_digest(label)
        info |= {} if digest else empty
        info |= with_verdict(info, verdict_on(image, digest, label, info, self._judge), digest, notes)
        info |= with_warnings({}, notes)
        info |= {
            "SeriesInstanceUID": str(seg.SeriesInstanceUID),
            "StudyInstanceUID": str(seg.StudyInstanceUID),
            "Modality": "SEG",
        }
        try:
            self._index.add_own(image, seg, info["state"])
            self._notes.add_label(image, FINAL, ".nii.gz", info)
        except OSError:  # the label is on the DICOM server, which is what counts
            logger.exception("Noting the label of %s failed", image)
        logger.info("Label of %s stored on %s as SEG %s", image, self._server.url, seg.SeriesInstanceUID)

    def _save_other(self, image: str, sent: Path, tag: str, info: dict[str, Any]) -> None:
        ext = ".bin" if sent.suffix == ".bin" else label_extension(str(sent))
        with replacing(self._notes.label_file(image, tag, ext)) as part:
            part.write_bytes(sent.read_bytes())
        self._notes.add_label(image, tag, ext, info)

    def segmentation(self, image_id: str, label: str) -> Dataset:
        """Return a prediction for a series as DICOM SEG. Raises PoolError 404, 422, 503."""
        self._check_image(image_id)
        try:
            return self._segs.segmentation(label, self.get_image_uri(image_id), self._series.dicom(image_id))
        except LabelError as error:
            raise PoolError(422, f"the prediction for {image_id}: {error}") from error

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label that stays on this machine; a final one is refused (405)."""
        if label_tag == FINAL:
            raise PoolError(
                405, f"remove the SEG series on {self._server.url}; it is noticed within a minute"
            )
        self._notes.remove_label(label_id, label_tag)

    # the whole ----------------------------------------------------------------------------------------

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Return pairs for training, sorted by image; what is not here is downloaded.

        A pair that cannot be used is named and left out. Raises ServerError when the server is down and
        something is missing here.
        """
        pairs = []
        for image in self.get_labeled_images():
            try:
                pair = {"image": self.get_image_uri(image), "label": self.get_label_uri(image, FINAL)}
            except (ImageError, LabelError) as error:
                logger.error("Left out of the training: %s", error)
                continue
            pairs.append(
                pair if full_path else {k: os.path.relpath(v, self._folder) for k, v in pair.items()}
            )
        return pairs

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Write labelled images and their labels into a zip file; returns its path."""
        return write_archive(self.datalist()[:limit_cases], json.dumps(self._notes.as_json(), default=str))

    def name(self) -> str:
        """Return the pool's name."""
        return self._server.url

    def set_name(self, name: str) -> None:
        """Refuse (405): the pool's name is its URL."""
        raise PoolError(405, f"a pool on a DICOM server is named by its URL, {self._server.url}")

    def description(self) -> str:
        """Return the pool's description."""
        return self._notes.description()

    def set_description(self, description: str) -> None:
        """Replace the pool's description."""
        self._notes.set_description(description)

    def status(self) -> dict[str, Any]:
        """Count images, final labels, and labels by tag."""
        tags = {**self._notes.count_by_tag(), FINAL: self.count_labelled()}
        return {
            "total": len(self.list_images()),
            "completed": self.count_labelled(),
            "label_tags": {tag: count for tag, count in tags.items() if count},
        }

    def json(self) -> dict[str, Any]:
        """Return every image with its information and its labels."""
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
        return self._notes.as_json(objects)
