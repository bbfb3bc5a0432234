"""What a datastore answers. No lock is needed: what is read is replaced by a change, never changed itself."""

from __future__ import annotations

import copy
import os
import threading
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore

from pool.datastore.contents import FINAL, Contents


class Answers(LocalDatastore):
    """The reading half; `pool.datastore.folder` opens what it reads."""

    _contents: Contents
    _image_folder: str  # without links
    _lock: threading.RLock
    _twice: dict[str, list[str]]

    @property
    def _versions(self) -> Path:
        return Path(self._datastore_path) / "versions" / FINAL

    def clashing_files(self) -> dict[str, list[str]]:
        """Ids that several files have: {id: [the file that is used, the others]}; known in the server."""
        return dict(self._twice)

    def list_images(self) -> list[str]:
        """Ids of all images, sorted; the very same list until images come or go (do not change it)."""
        return self._contents.images

    def has_image(self, image_id: str) -> bool:
        """Whether the pool holds this image now."""
        return image_id in self._datastore.objects

    def is_labelled(self, image_id: str) -> bool:
        """Whether the image has a final label now."""
        return image_id in self._contents.labelled

    def count_labelled(self) -> int:
        """Number of images with a final label."""
        return len(self._contents.labelled)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids with a final label, sorted."""
        return sorted(self._contents.labelled)

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Ids without a final label, sorted."""
        labelled = self._contents.labelled
        return [image for image in self._contents.images if image not in labelled]

    def get_image_uri(self, image_id: str) -> str:
        """Path of the image's file, "" for an unknown image; a link is not followed, its name counts."""
        obj = self._datastore.objects.get(image_id)
        return os.path.join(self._image_folder, image_id + obj.image.ext) if obj else ""

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is noted of an image, and its `path`; {} for an unknown image."""
        obj = self._datastore.objects.get(image_id)
        return copy.deepcopy(obj.image.info) | {"path": self.get_image_uri(image_id)} if obj else {}

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """A copy of what is noted of a label; {} for an unknown one."""
        return copy.deepcopy(super().get_label_info(label_id, label_tag))

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs for training, sorted by image, so that a seed gives the same order everywhere."""
        labels, pairs = os.path.realpath(self._datastore.label_path(FINAL)), []
        for image in self.get_labeled_images():
            obj = self._datastore.objects.get(image)
            if obj is not None and FINAL in obj.labels:  # not removed a moment ago
                label = os.path.join(labels, image + obj.labels[FINAL].ext)
                pairs.append({"image": self.get_image_uri(image), "label": label})
        if full_path:
            return pairs
        top = os.path.realpath(self._datastore_path)
        return [{key: os.path.relpath(path, top) for key, path in pair.items()} for pair in pairs]

    def status(self) -> dict[str, Any]:
        return self._contents.status()

    def json(self) -> dict[str, Any]:
        with self._lock:
            return super().json()

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        with self._lock:
            return super().get_dataset_archive(limit_cases)
