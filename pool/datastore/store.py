"""A studies folder as MONAI Label's datastore: it survives kills, and 100,000 images are no burden."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Any

from pool.dataset_archive import write_archive
from pool.datastore.folder import StudiesFolder
from pool.datastore.image_files import ImageFiles
from pool.datastore.index import FINAL, Change, DatastoreIndex
from pool.datastore.index_file import InUse
from pool.datastore.label_files import LabelFiles, Saved
from pool.datastore.scanner import text_of_ignored
from pool.imaging.names import image_fingerprint
from pool.label_states import Judge
from pool.protocol import Finding, LabelCheck, RefusedLabel

__all__ = ["InUse", "PoolDatastore"]


class PoolDatastore:
    """A folder of images with labels below it; selection sees it as a `pool.protocol.PoolStore`.

    It has all methods of MONAI Label's Datastore, and `server.app` registers it as one: listing a pool
    must not import MONAI Label. One server writes; its children read what it wrote. Kept in
    `datastore_v2.json`, which stock MONAI Label reads and writes too, and in `datastore_v2.journal`. Call
    `close` when done.

    :param path: the studies folder
    :param labels: {name: value} that a final label may hold
    :param changed: called when images or labels came or went; the server passes it, its children do not
    :param read_only: True in the children: only the server writes
    :param saved: called as saved(image, tag, info) after a label is kept, from the thread that saved it
    :param recursive: images in subfolders belong to the pool; their ids keep the folder
    :param trusts_files: False: final labels that are found count once `take_in_checks` says so
    :param judge: compares a label that is being saved with predictions and with other labels
    :param counts_unedited: labels that equal a prediction or another label count before they are confirmed
    :param accepts_empty: final labels without a voxel count, without a word of whoever made them

    Raises InUse when another process writes in the folder.
    """

    def __init__(
        self,
        path: str,
        labels: Mapping[str, int],
        changed: Callable[[], None] | None = None,
        read_only: bool = False,
        saved: Saved | None = None,
        trusts_files: bool = True,
        recursive: bool = False,
        judge: Judge | None = None,
        counts_unedited: bool = False,
        accepts_empty: bool = False,
    ) -> None:
        self._path = path
        self.newest_check = 0
        self._folder = StudiesFolder(Path(path), changed, read_only, trusts_files, recursive, counts_unedited)
        self._labels = LabelFiles(self._folder, labels, saved, judge, accepts_empty)
        self._images = ImageFiles(self._folder, self._labels)

    @property
    def _index(self) -> DatastoreIndex:
        return self._folder.index

    def close(self) -> None:
        """End the watcher, write the JSON, let another server in. A second call does nothing."""
        self._folder.close()

    def take_over_changes(self) -> None:
        """Notice what came or went since the last call; one look at each folder's time when nothing did."""
        self._folder.take_over_changes()

    def refresh(self) -> None:
        """List the folders; in a child, read what the server wrote since."""
        self._folder.refresh()

    def clashing_files(self) -> dict[str, list[str]]:
        """Return the ids that several files have: {id: [the file that is used, the others]}."""
        return self._folder.clashing_files

    @property
    def ignored_files(self) -> str:
        """Text on what is not read in the folder, and what to do; "" for nothing."""
        return text_of_ignored(self._folder.ignored)

    @property
    def unwritable(self) -> str:
        """Why labels cannot be saved; "" if they can."""
        return self._folder.unwritable

    # images -------------------------------------------------------------------------------------------

    def list_images(self) -> list[str]:
        """Return all ids, sorted; the very same list until images come or go (do not change it)."""
        return self._index.images

    def has_image(self, image_id: str) -> bool:
        """Tell whether the pool holds this image now."""
        return image_id in self._index.model.objects

    def get_image_uri(self, image_id: str) -> str:
        """Return the path of an image's file, "" for an unknown image. A link keeps its own name."""
        obj = self._index.model.objects.get(image_id)
        return os.path.join(self._folder.images, image_id + obj.image.ext) if obj else ""

    def fingerprints(self, images: Sequence[str]) -> dict[str, str]:
        """Map images to the fingerprints of their files; one whose file is gone is left out."""
        present: dict[str, str] = {}
        for image in images:
            with suppress(FileNotFoundError):  # just removed; the next scan will notice
                present[image] = image_fingerprint(self.get_image_uri(image))
        return present

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO | None:
        """Return the bytes of an image's file; None for an unknown image."""
        uri = self.get_image_uri(image_id)
        return io.BytesIO(Path(uri).read_bytes()) if uri else None

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Return what is noted of an image, and its `path`; {} for an unknown image."""
        obj = self._index.model.objects.get(image_id)
        return copy.deepcopy(obj.image.info) | {"path": self.get_image_uri(image_id)} if obj else {}

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is noted of an image."""
        self._images.add_info(image_id, info)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Copy an image into the pool; see `ImageFiles.add`."""
        return self._images.add(image_id, Path(image_filename), image_info)

    def remove_image(self, image_id: str) -> None:
        """Remove an image and its labels; see `ImageFiles.remove`."""
        self._images.remove(image_id)

    def kept_in_studies(self, images: Sequence[str]) -> list[str]:
        """Return the files of images that the studies folder has: the images, their labels and versions."""
        present = [self.get_image_uri(image) for image in images if self.has_image(image)]
        return present + [str(file) for image in images for file in self._labels.files_of(image)]

    def cached(self, images: Sequence[str]) -> list[Path]:
        """Return the copies of images that are kept elsewhere: none."""
        return []

    def cached_patients(self) -> dict[str, str]:
        """Return the patients of images that have left: not known for a folder."""
        return {}

    def forget(self, images: Sequence[str]) -> None:
        """Remove what is noted of images that have left: nothing, as their notes go with them."""

    # labels -------------------------------------------------------------------------------------------

    @property
    def unchecked_labels(self) -> AbstractSet[str]:
        """Images with a final label that was found and is not checked yet."""
        return self._index.unchecked

    @property
    def unedited_labels(self) -> AbstractSet[str]:
        """Images with a final label that equals a prediction and does not count until it is confirmed."""
        return self._index.unedited

    @property
    def refused_labels(self) -> dict[str, RefusedLabel]:
        """Final labels that do not count, by image, and files that are no image's label, by name."""
        return self._labels.refused()

    def label_fingerprints(self, images: Sequence[str] | None = None) -> dict[str, str]:
        """Map images with a final label, by default all, to the fingerprint of the label's and own file."""
        return self._labels.fingerprints(images)

    def label_version(self, image_id: str) -> int:
        """Return the number of an image's final label, from 1; 0 without one. It grows with each save."""
        return self._labels.version(image_id)

    def check_label(self, image_id: str, notes: list[str] | None = None) -> Finding:
        """Read a final label; return why it does not count, and its digest.

        :param notes: gets a sentence on everything in the file that is not used
        """
        return self._labels.check(image_id, notes)

    def rewrite_label(self, image_id: str, values: Mapping[int, int]) -> bool:
        """Write a final label anew if its unknown values are those of a mapping; see `LabelFiles.rewrite`."""
        return self._labels.rewrite(image_id, values)

    def take_in_checks(self, checks: Iterable[LabelCheck]) -> None:
        """Count labels, or not, by their checks; one of another file than the present one changes nothing."""
        for check in checks:
            self._labels.settle(check)
            self.newest_check = max(self.newest_check, check.number)

    def is_labelled(self, image_id: str) -> bool:
        """Tell whether the image has a final label that counts now."""
        return image_id in self._index.labelled

    def count_labelled(self) -> int:
        """Count the images with a final label."""
        return len(self._index.labelled)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Return the ids with a final label, sorted."""
        return sorted(self._index.labelled)

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Return the ids without a final label, sorted."""
        labelled = self._index.labelled
        return [image for image in self._index.images if image not in labelled]

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Map the tags of an image's labels to their ids, which are the image's."""
        obj = self._index.model.objects.get(image_id)
        return dict.fromkeys(obj.labels, image_id) if obj else {}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Return the id of an image's label with a tag, "" when there is none."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of a label's file, "" when there is none."""
        label = self._index.model.label(label_id, label_tag)
        return os.path.realpath(self._labels.path(label_tag) / (label_id + label.ext)) if label else ""

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO | None:
        """Return the bytes of a label's file; None when there is none."""
        uri = self.get_label_uri(label_id, label_tag)
        return io.BytesIO(Path(uri).read_bytes()) if uri else None

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return a copy of what is noted of a label; {} for an unknown one."""
        label = self._index.model.label(label_id, label_tag)
        return copy.deepcopy(label.info) if label else {}

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is noted of a label."""
        self._labels.add_info(label_id, label_tag, info)

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Check and keep a label; raises PoolError as `LabelFiles.save`."""
        self._labels.save(image_id, label_filename, label_tag, label_info)
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label; a final one is kept as a version."""
        self._labels.remove(label_id, label_tag)

    # the whole ----------------------------------------------------------------------------------------

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Return pairs for training, sorted by image, so that a seed gives the same order everywhere."""
        labels, pairs = os.path.realpath(self._labels.path(FINAL)), []
        for image in self.get_labeled_images():
            obj = self._index.model.objects.get(image)
            if obj is not None and FINAL in obj.labels:  # not removed a moment ago
                label = os.path.join(labels, image + obj.labels[FINAL].ext)
                pairs.append({"image": self.get_image_uri(image), "label": label})
        if full_path:
            return pairs
        top = os.path.realpath(self._path)
        return [{key: os.path.relpath(path, top) for key, path in pair.items()} for pair in pairs]

    def name(self) -> str:
        """Return the pool's name."""
        return self._index.model.name

    def set_name(self, name: str) -> None:
        """Replace the pool's name."""
        self._folder.note(Change(name=name))

    def description(self) -> str:
        """Return the pool's description."""
        return self._index.model.description

    def set_description(self, description: str) -> None:
        """Replace the pool's description."""
        self._folder.note(Change(description=description))

    def status(self) -> dict[str, Any]:
        """Count images, final labels and labels by tag."""
        return self._index.status()

    def json(self) -> dict[str, Any]:
        """Return the index as MONAI Label shows it."""
        with self._folder.lock:
            return self._index.model.model_dump(exclude={"base_path"})

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Write labelled images, their labels and the index into a zip file; returns its path."""
        with self._folder.lock:
            pairs, index = self.datalist(), self._index.model.model_dump_json(exclude={"base_path"})
        return write_archive(pairs[:limit_cases], index)
