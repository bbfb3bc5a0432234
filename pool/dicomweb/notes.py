"""Notes on images, and labels of other tags than final, which stay on this machine."""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastoreModel
from monailabel.interfaces.datastore import DefaultLabelTag

from pool.errors import PoolError
from pool.files import make_folder, write_atomically
from pool.imaging.images import image_id
from pool.left_notes import leave_note, take_notes

logger = logging.getLogger(__name__)
FINAL = DefaultLabelTag.FINAL.value


class Notes:
    """MONAI Label's model of a datastore in `folder/datastore_v2.json`.

    :param read_only: True in the children, which write nothing
    """

    def __init__(self, folder: Path, read_only: bool) -> None:
        self._file, self._read_only, self._lock = folder / "datastore_v2.json", read_only, threading.RLock()
        self._model = LocalDatastoreModel(name="new-dataset", description="New Dataset", images_dir=".")
        make_folder(folder)
        if self._file.exists():
            try:
                self._model = LocalDatastoreModel.model_validate_json(self._file.read_bytes())
            except ValueError:
                self._set_aside()
        self._model.base_path = str(folder)

    def _set_aside(self) -> None:
        if self._read_only:
            return
        aside = self._file.with_name(f"{self._file.name}.damaged-{time.time_ns()}")
        with suppress(FileNotFoundError):  # another server was faster
            os.replace(self._file, aside)
        logger.error("%s is damaged; it is kept as %s, and notes begin anew", self._file, aside.name)

    def info(self, image: str) -> dict[str, Any]:
        """Return what clients noted of an image."""
        with self._lock:
            obj = self._model.objects.get(image)
            return copy.deepcopy(obj.image.info) if obj else {}

    def add_info(self, image: str, info: Mapping[str, Any]) -> None:
        """Add to what is noted of an image.

        MONAI Label's note of who was handed the image last (`strategy`) stays in memory: it comes with each
        click, and the pool's ledger has it.
        """
        with self._lock:
            self._image(image).image.info.update(info)
            if info.keys() != {"strategy"}:
                self._write()

    def label_file(self, image: str, tag: str, ext: str) -> Path:
        """Return the path of a label that stays on this machine."""
        return Path(self._model.label_path(tag)) / f"{image}{ext}"

    def label_uri(self, image: str, tag: str) -> str:
        """Return the path of a noted label, "" when there is none."""
        label = self._model.label(image, tag)
        return str(self.label_file(image, tag, label.ext).resolve()) if label else ""

    def label_info(self, image: str, tag: str) -> dict[str, Any]:
        """Return a copy of what is noted of a label; {} for an unknown one."""
        with self._lock:
            label = self._model.label(image, tag)
            return copy.deepcopy(label.info) if label else {}

    def tags(self, image: str) -> list[str]:
        """Return the tags of an image's noted labels."""
        obj = self._model.objects.get(image)
        return list(obj.labels) if obj else []

    def add_label(self, image: str, tag: str, ext: str, info: Mapping[str, Any]) -> None:
        """Note a label with the time."""
        with self._lock:
            label = DataModel(info={**info, "ts": int(time.time()), "name": f"{image}{ext}"}, ext=ext)
            self._image(image).labels[tag] = label
            self._write()
            if self._read_only:
                leave_note(self.label_file(image, tag, ext), label.info)

    def take_over_labels(self) -> None:
        """Note the labels that children left on this machine."""
        top, left = Path(self._model.label_path(None)), []
        for folder in sorted(top.iterdir()) if top.is_dir() else []:
            if folder.is_dir() and folder.name != FINAL:
                left += [(folder.name, name, info) for name, info in take_notes(folder)]
        with self._lock:
            for tag, name, info in left:
                image = image_id(name)
                self._image(image).labels[tag] = DataModel(info=info, ext=name[len(image) :])
            if left:
                self._write()

    def add_label_info(self, image: str, tag: str, info: Mapping[str, Any]) -> None:
        """Add to what is noted of a label. Raises PoolError 404."""
        with self._lock:
            self._label(image, tag).info.update(info)
            self._write()

    def remove_label(self, image: str, tag: str) -> None:
        """Remove a label that stays on this machine. Raises PoolError 404."""
        with self._lock:
            label = self._label(image, tag)
            self.label_file(image, tag, label.ext).unlink(missing_ok=True)
            self._model.objects[image].labels.pop(tag)
            self._write()

    def forget(self, images: Sequence[str]) -> None:
        """Drop what is noted of images and of their labels."""
        with self._lock:
            for image in images:
                self._model.objects.pop(image, None)
            self._write()

    def count_by_tag(self) -> dict[str, int]:
        """Count the noted labels of each tag."""
        counts: dict[str, int] = {}
        for obj in list(self._model.objects.values()):
            for tag in list(obj.labels):
                counts[tag] = counts.get(tag, 0) + 1
        return counts

    def description(self) -> str:
        """Return the pool's description."""
        return self._model.description

    def set_description(self, description: str) -> None:
        """Replace the pool's description."""
        with self._lock:
            self._model.description = description
            self._write()

    def as_json(self, objects: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the model as MONAI Label shows it, with other `objects` if they are given."""
        with self._lock:
            model = self._model.model_dump(exclude={"base_path"})
        return model if objects is None else {**model, "objects": objects}

    def _image(self, image: str) -> ImageLabelModel:
        return self._model.objects.setdefault(image, ImageLabelModel(image=DataModel(ext=".nii.gz")))

    def _label(self, image: str, tag: str) -> DataModel:
        if (label := self._model.label(image, tag)) is None:
            raise PoolError(404, f"image {image!r} has no label with the tag {tag!r}")
        return label

    def _write(self) -> None:
        if not self._read_only:
            text = self._model.model_dump_json(exclude={"base_path"}, indent=1, fallback=str)
            write_atomically(self._file, text.encode())
