"""MONAI Label's local datastore with what a pool needs: checked labels, atomic writes, sorted ids."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import HTTPException
from filelock import FileLock
from monailabel.datastore.local import DataModel, LocalDatastore, LocalDatastoreModel
from monailabel.interfaces.datastore import DefaultLabelTag
from watchdog.events import FileSystemEvent, PatternMatchingEventHandler

from pool.images import EXTENSIONS
from pool.labels import EXTENSIONS as LABEL_EXTENSIONS
from pool.labels import LabelError, check_label

logger = logging.getLogger(__name__)


def _patterns() -> list[str]:
    """File patterns for MONAI Label, which compares case: `*.png` and `*.PNG`."""
    return [f"*{e}" for e in EXTENSIONS] + [f"*{e.upper()}" for e in EXTENSIONS]


class PoolDatastore(LocalDatastore):
    """A folder of images with labels below it.

    :param path: the studies folder
    :param labels: {name: value} that a final label may hold
    :param changed: called when images or labels came or went; the server passes it, its children do not
    :param read_only: True in the children: only the server writes the datastore's JSON
    """

    def __init__(
        self,
        path: str,
        labels: Mapping[str, int],
        changed: Callable[[], None] | None = None,
        read_only: bool = False,
    ) -> None:
        self._labels, self._changed, self._read_only = labels, changed, read_only
        self._lock, self._dirty = threading.RLock(), False
        if not read_only:
            _set_damaged_aside(Path(path) / "datastore_v2.json")
        super().__init__(path, extensions=_patterns(), auto_reload=not read_only, read_only=read_only)
        if not read_only:
            self._watch()

    def _watch(self) -> None:
        """Notice files that come, go or are renamed, as rsync does.

        Stock MONAI Label works in the watcher's thread, where one error ends it; here it only takes a note.
        """
        handler = PatternMatchingEventHandler(
            patterns=[f"**/{pattern}" for pattern in _patterns()], ignore_directories=True
        )
        handler.on_created = handler.on_deleted = handler.on_moved = self._note  # type: ignore[method-assign]
        self._observer.unschedule_all()
        self._observer.schedule(handler, path=self._datastore_path, recursive=True)

    def _note(self, event: FileSystemEvent) -> None:
        self._dirty = True
        if self._changed:
            self._changed()

    def take_over_changes(self) -> None:
        """Read the folder again if files came or went since the last time."""
        if self._dirty:
            self._dirty = False
            self.refresh()

    def _reconcile_datastore(self) -> None:
        with self._lock:  # it empties and fills the list of images
            super()._reconcile_datastore()

    def get_image_uri(self, image_id: str) -> str:
        with self._lock:
            return super().get_image_uri(image_id)

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        with self._lock:
            super().update_image_info(image_id, info)

    def list_images(self) -> list[str]:
        """Ids of all images, sorted."""
        with self._lock:
            return sorted(super().list_images())

    def has_image(self, image_id: str) -> bool:
        return image_id in self._datastore.objects

    def is_labelled(self, image_id: str) -> bool:
        item = self._datastore.objects.get(image_id)
        return bool(item and item.labels.get(DefaultLabelTag.FINAL))

    def count_labelled(self) -> int:
        return len(self.get_labeled_images())

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids with a final label, sorted."""
        with self._lock:
            return sorted(super().get_labeled_images(label_tag, labels))

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """Ids without a final label, sorted."""
        with self._lock:
            return sorted(super().get_unlabeled_images(label_tag, labels))

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs for training, sorted by image, so that a seed gives the same order everywhere."""
        with self._lock:
            return sorted(super().datalist(full_path), key=lambda pair: pair["image"])

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Check a final label, then keep it; nothing is written before the check.

        Raises HTTPException: 400 for a strange tag, 404 for an unknown image, 422 for a label that does not
        fit, 507 for a full disk.
        """
        if not re.fullmatch(r"[\w-]+", label_tag):  # it names a folder
            raise HTTPException(400, f"tag {label_tag!r}: use letters, digits, _ and - only")
        if image_id not in self.list_images():
            raise HTTPException(
                404,
                f"there is no image {image_id!r} in this pool; "
                "ask for the next sample, or list the datastore",
            )
        info = dict(label_info or {})
        try:
            ext = self._checked_extension(image_id, label_filename, label_tag, info)
            self._keep_label(image_id, Path(label_filename), label_tag, ext, info)
        except LabelError as error:
            raise HTTPException(422, f"label for {image_id}: {error}") from error
        except OSError as error:
            raise HTTPException(
                507,
                f"label for {image_id}: the server could not write it ({error}); "
                "make room on its disk, then save the label again",
            ) from error
        return image_id

    def _checked_extension(self, image_id: str, label: str, tag: str, info: Mapping[str, Any]) -> str:
        """The extension to keep a label under. Raises LabelError; only final labels are looked into."""
        ext = next((e for e in LABEL_EXTENSIONS if label.lower().endswith(e)), None)
        if ext is None:
            raise LabelError(
                f"a label file ends in {', '.join(LABEL_EXTENSIONS)}, not as {Path(label).name!r}"
            )
        if tag == DefaultLabelTag.FINAL:
            empty = str(info.get("empty", False)).lower() == "true"
            check_label(label, self._labels, self.get_image_uri(image_id), allow_empty=empty)
        return ext

    def _keep_label(self, image_id: str, label: Path, tag: str, ext: str, info: dict[str, Any]) -> None:
        folder, name = Path(self._datastore.label_path(tag)), self._filename(image_id, ext)
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock, FileLock(self._lock_file):
            _copy_atomically(label, folder / name)
            kept = DataModel(info=info | {"ts": int(time.time()), "name": name}, ext=ext)
            self._datastore.objects[image_id].labels[tag] = kept
            self._update_datastore_file(lock=False)
        logger.info("Label of %s kept as %s/%s", image_id, tag, name)

    def _update_datastore_file(self, lock: bool = True) -> None:
        """Write the datastore's JSON whole or not at all (stock MONAI Label truncates it first)."""
        if self._read_only:
            return
        if lock:
            with FileLock(self._lock_file):
                return self._update_datastore_file(lock=False)
        target = Path(self._datastore_config_path)
        text = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
        _write_atomically(target, text)
        self._config_ts = target.stat().st_mtime


def _write_atomically(target: Path, text: str) -> None:
    with _replacing(target) as file:
        file.write(text.encode())


def _copy_atomically(source: Path, target: Path) -> None:
    with _replacing(target) as file, open(source, "rb") as original:
        shutil.copyfileobj(original, file)


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the target's place when the block ends well, and leaves nothing when it does not."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _set_damaged_aside(file: Path) -> None:
    """A datastore file that cannot be read is renamed, never overwritten; images and labels rebuild it."""
    try:
        if file.exists():
            LocalDatastoreModel.model_validate_json(file.read_bytes())
    except ValueError:
        aside = file.with_name(f"{file.name}.damaged-{int(time.time())}")
        os.replace(file, aside)
        logger.error("%s is damaged; it is kept as %s and rebuilt from the files", file, aside.name)
