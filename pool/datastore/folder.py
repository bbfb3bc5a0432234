"""A folder of images, on the disk and in memory: opening it, and noticing what comes and goes.

It takes the place of what stock MONAI Label does with list membership and a whole new JSON at each click.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import LocalDatastoreModel
from monailabel.interfaces.datastore import DefaultLabelTag

from pool.datastore.answers import Answers
from pool.datastore.contents import FINAL, Change, Contents
from pool.datastore.disk import Disk, lock_studies
from pool.datastore.scan import Listing, image_changes, label_changes
from pool.datastore.watch import end_watch, watch
from pool.files import make_folder, remove_leftovers

logger = logging.getLogger(__name__)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Looking for garbage among half a million objects that stay takes longer than making them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class FolderDatastore(Answers):
    """What `pool.datastore.store.PoolDatastore` stands on; its parameters are explained there."""

    def __init__(
        self,
        path: str,
        labels: Mapping[str, int],
        changed: Callable[[], None] | None = None,
        read_only: bool = False,
        saved: Callable[[str, str, dict[str, Any]], None] | None = None,
    ) -> None:
        # the stock constructor writes, locks and watches in its own way, so it is not called
        self._labels, self._changed, self._saved, self._read_only = labels, changed, saved, read_only
        self._datastore_path, self._datastore_config_path = path, os.path.join(path, "datastore_v2.json")
        self._lock, self._listing = threading.RLock(), Listing()
        self._disk = Disk(Path(path))
        self._twice: dict[str, list[str]] = {}
        self._strays: dict[str, list[str]] = {}
        self._unwritable = "" if not read_only else "it is read by a child process"
        self._held: FileLock | None = None
        with _no_collection():
            self._open_to_read() if read_only else self._open_to_write()

    # opening and closing ------------------------------------------------------------------------------

    def _open_to_read(self) -> None:
        """Take what the server wrote; where it cannot write, list the folder as it does."""
        self._take(self._read_what_is_kept())
        if not os.access(self._datastore_path, os.W_OK) or not self._disk.json.exists():
            self._reconcile_datastore()

    def _open_to_write(self) -> None:
        folder = Path(self._datastore_path)
        make_folder(folder)
        try:
            self._held = lock_studies(folder)
            self._start_writing()
        except OSError as error:
            self._unwritable = str(error)
            logger.error(
                "The studies folder %s cannot be written (%s). Images are handed out, but labels cannot be "
                "saved: make the folder writable for the server's user and its disk not full, then start "
                "the server again",
                folder,
                error,
            )
            self._take(self._read_what_is_kept())
            self._reconcile_datastore()
        except BaseException:
            self._let_go()
            raise
        below = {self._datastore.image_path(): False, self._datastore.label_path(None): True}
        self._observer = watch({p: deep for p, deep in below.items() if os.path.isdir(p)}, self._tell)
        atexit.register(self.close)

    def _start_writing(self) -> None:
        model, stale = self._disk.open()
        self._take(model)
        labels = (model.label_path(tag) for tag in (None, FINAL, DefaultLabelTag.ORIGINAL.value))
        for path in (model.image_path(), *labels):
            make_folder(Path(path))
        if self._look(everything=True) or stale:
            self._disk.rewrite(self._datastore)
        remove_leftovers(self._disk.folder, self._versions, *self._tag_folders().values())

    def _read_what_is_kept(self) -> LocalDatastoreModel:
        try:
            return self._disk.read()
        except ValueError:
            if os.access(self._datastore_path, os.W_OK):
                raise
            logger.error("%s is damaged; images and labels are found by their files", self._disk.json)
            return self._disk.empty()

    def _take(self, model: LocalDatastoreModel) -> None:
        self._datastore, self._contents = model, Contents(model)
        self._image_folder = os.path.realpath(model.image_path())

    def close(self) -> None:
        """End the watcher, write the JSON, let another server in. A second call does nothing."""
        if self._read_only:
            return
        atexit.unregister(self.close)
        end_watch(self._observer)
        with self._lock:
            if not self._unwritable:
                self._disk.try_rewrite(self._datastore)
                self._disk.close()
            self._unwritable = self._unwritable or "the server is ending"
            self._let_go()

    def _let_go(self) -> None:
        if self._held:
            self._held.release()
            self._held = None

    # what comes and goes ------------------------------------------------------------------------------

    def _tell(self) -> None:
        if self._changed:
            self._changed()

    def take_over_changes(self) -> None:
        """Notice what came or went since the last call; one look at each folder's time when nothing did."""
        if not self._read_only:
            with self._lock:
                self._note(self._look(everything=False))

    def refresh(self) -> None:
        """List the folders; in a child, read what the server wrote since."""
        self._open_to_read() if self._read_only else self._reconcile_datastore()

    def _reconcile_datastore(self) -> None:
        with self._lock:
            self._note(self._look(everything=True))

    def _note(self, changes: list[Change]) -> None:
        """Keep changes that the folders showed; they are found again when they cannot be written."""
        if not changes or self._unwritable:
            return
        try:
            if self._disk.is_long(len(changes)):
                self._disk.rewrite(self._datastore)
            else:
                self._disk.record(changes)
        except OSError as error:
            logger.error("%s: what came or went cannot be noted (%s)", self._datastore_path, error)

    def _look(self, everything: bool) -> list[Change]:
        """Take over what the folders show: those that changed since they were listed, or all.

        The changes that were made. A folder that cannot be listed is as it was.
        """
        changes: list[Change] = []
        images = Path(self._datastore.image_path())
        try:
            if everything or self._listing.is_old(images):
                changes, twice = image_changes(self._datastore.objects, self._listing.names(images))
                self._contents.apply(changes)
                self._warn_of(twice)
            everything = everything or any(not change.gone for change in changes)  # its label may wait
            for tag, folder in self._tag_folders().items():
                if everything or self._listing.is_old(folder):
                    names = self._listing.names(folder) if folder.is_dir() else set()
                    found, strays = label_changes(self._datastore.objects, tag, names)
                    self._contents.apply(found)
                    self._warn_of_strays(tag, strays)
                    changes += found
        except OSError as error:
            logger.error("%s cannot be listed (%s); what is known of it stays", self._datastore_path, error)
        return changes

    def _tag_folders(self) -> dict[str, Path]:
        """Folders of labels: those that are there, and those of known labels."""
        top = Path(self._datastore.label_path(None))
        there = sorted(p.name for p in top.iterdir() if p.is_dir()) if top.is_dir() else []
        tags = [tag for tag in there if not tag.startswith(".")] + list(self._contents.tags)
        return {tag: top / tag for tag in dict.fromkeys(tags)}

    def _warn_of(self, twice: dict[str, list[str]]) -> None:
        for image, (used, *others) in twice.items():
            if self._twice.get(image) != [used, *others]:
                logger.warning(
                    "Image %s has more than one file: %s is used, %s not; rename or remove what is not meant",
                    image,
                    used,
                    ", ".join(others),
                )
        self._twice = twice

    def _warn_of_strays(self, tag: str, strays: list[str]) -> None:
        if strays and self._strays.get(tag) != strays:
            logger.warning(
                "%d files in the labels %s belong to no image, the first: %s; a label is named as its image",
                len(strays),
                tag,
                strays[0],
            )
        self._strays[tag] = strays
