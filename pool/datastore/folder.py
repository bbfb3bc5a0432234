"""A studies folder that one server writes and its children read: opening, noticing changes, keeping them.

Replaces what stock MONAI Label does with list membership and a whole new JSON at each click.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from pool.datastore.index import FINAL, ORIGINAL, Change, DatastoreIndex
from pool.datastore.index_file import IndexFile, lock_studies
from pool.datastore.model import LocalDatastoreModel
from pool.datastore.scanner import Scanner, tag_folders
from pool.datastore.watch import end_watch, watch
from pool.errors import PoolError
from pool.files import cannot_write, make_folder, remove_leftovers

logger = logging.getLogger(__name__)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause garbage collection: among half a million objects that stay it takes longer than making them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class StudiesFolder:
    """The folder, its index in memory and on disk, and the lock that keeps other servers out.

    :param path: the studies folder
    :param changed: called when images or labels came or went
    :param read_only: True in child processes
    :param trusts_files: see `DatastoreIndex`
    :param recursive: images in subfolders belong to the pool; their ids keep the folder
    :param counts_unedited: see `DatastoreIndex`
    :ivar index: replaced as a whole when a child reads what the server wrote
    :ivar lock: held while anything changes

    Raises InUse when another process writes in the folder.
    """

    index: DatastoreIndex
    images: str  # the images' folder, without links

    def __init__(
        self,
        path: Path,
        changed: Callable[[], None] | None,
        read_only: bool,
        trusts_files: bool = True,
        recursive: bool = False,
        counts_unedited: bool = False,
    ) -> None:
        self._trusts_files, self._recursive, self._counts_unedited = trusts_files, recursive, counts_unedited
        self.path, self.read_only, self.lock = path, read_only, threading.RLock()
        self._changed, self._scanner, self._file = changed, Scanner(recursive), IndexFile(path)
        self._unwritable = "it is read by a child process" if read_only else ""
        self._held: FileLock | None = None
        with _no_collection():
            self._open_to_read() if read_only else self._open_to_write()

    @property
    def versions(self) -> Path:
        """Folder of the final labels that were replaced or removed."""
        return self.path / "versions" / FINAL

    @property
    def clashing_files(self) -> dict[str, list[str]]:
        """Ids that several files have: {id: [the file that is used, the others]}."""
        return dict(self._scanner.clashing_files)

    @property
    def ignored(self) -> list[str]:
        """Names in the folder that are not read: files that are no images, and subfolders."""
        return self._scanner.ignored

    @property
    def unwritable(self) -> str:
        """Why this server cannot write in the folder; "" if it can, and in a child."""
        return "" if self.read_only else self._unwritable

    def strays(self, tag: str) -> list[str]:
        """Return the files among the labels of a tag that belong to no image."""
        return list(self._scanner.strays.get(tag, ()))

    # opening and closing ------------------------------------------------------------------------------

    def _open_to_read(self) -> None:
        """Load what the server wrote; where it cannot write, list the folder as it does."""
        if (changes := self._file.changes_since_read()) is not None:
            self.index.apply(changes)
        else:
            self._load(self._read_index())
        if not os.access(self.path, os.W_OK) or not self._file.json.exists():
            self._rescan()

    def _open_to_write(self) -> None:
        make_folder(self.path)
        try:
            self._held = lock_studies(self.path)
            self._start_writing()
        except OSError as error:
            self._unwritable = str(error)
            logger.error(
                "The studies folder %s cannot be written (%s). Nothing is handed out, since labels cannot be "
                "saved: make the folder writable for the server's user and its disk not full, then start "
                "the server again",
                self.path,
                error,
            )
            self._load(self._read_index())
            self._rescan()
        except BaseException:
            self._unlock()
            raise
        paths = {self.index.model.image_path(): self._recursive, self.index.model.label_path(None): True}
        self.observer = watch({p: deep for p, deep in paths.items() if os.path.isdir(p)}, self.notify)
        atexit.register(self.close)

    def _start_writing(self) -> None:
        model, stale = self._file.open()
        self._load(model)
        labels = (model.label_path(tag) for tag in (None, FINAL, ORIGINAL))
        for path in (model.image_path(), *labels):
            make_folder(Path(path))
        if self._scanner.scan(self.index, everything=True, take=True) or stale:
            self._file.rewrite(model)
        remove_leftovers(self.path, self.versions, *tag_folders(self.index).values())

    def _read_index(self) -> LocalDatastoreModel:
        try:
            return self._file.read()
        except ValueError:
            if os.access(self.path, os.W_OK):
                raise
            logger.error("%s is damaged; images and labels are found by their files", self._file.json)
            return self._file.empty()

    def _load(self, model: LocalDatastoreModel) -> None:
        before = getattr(self, "index", None)
        self.index = DatastoreIndex(model, before, self._trusts_files, self._counts_unedited)
        self.images = os.path.realpath(model.image_path())

    def close(self) -> None:
        """End the watcher, write the JSON, let another server in. A second call does nothing."""
        if self.read_only:
            return
        atexit.unregister(self.close)
        end_watch(self.observer)
        with self.lock:
            if not self._unwritable:
                self._file.try_rewrite(self.index.model)
                self._file.close()
            self._unwritable = self._unwritable or "the server is ending"
            self._unlock()

    def _unlock(self) -> None:
        if self._held:
            self._held.release()
            self._held = None

    # noticing -----------------------------------------------------------------------------------------

    def notify(self) -> None:
        """Tell the server that images or labels came or went."""
        if self._changed:
            self._changed()

    def take_over_changes(self) -> None:
        """Notice what came or went since the last call; one look at each folder's time when nothing did."""
        if not self.read_only:
            with self.lock:
                self._note(self._scanner.scan(self.index, everything=False, take=not self._unwritable))

    def refresh(self) -> None:
        """List the folders; in a child, read what the server wrote since."""
        self._open_to_read() if self.read_only else self._rescan()

    def _rescan(self) -> None:
        with self.lock:
            take = not self.read_only and not self._unwritable
            self._note(self._scanner.scan(self.index, everything=True, take=take))

    def _note(self, changes: list[Change]) -> None:
        """Keep changes that the folders showed; those that cannot be written now are found again."""
        if not changes or self._unwritable:
            return
        try:
            if self._file.is_long(len(changes)):
                self._file.rewrite(self.index.model)
            else:
                self._file.record(changes)
        except OSError as error:
            logger.error("%s: changes of its files cannot be noted (%s)", self.path, error)

    # keeping ------------------------------------------------------------------------------------------

    def check_writable(self, what: str, tag: str = FINAL) -> None:
        """Raise PoolError 507 unless this process may write.

        A child keeps no final labels, but may leave files of other tags for the server to find.
        """
        if self._unwritable and not (self.read_only and tag != FINAL):
            raise PoolError(
                507,
                f"{what}: it cannot be saved, since the studies folder {self.path} cannot be "
                f"written ({self._unwritable}); make it writable for the server's user, start the server "
                "again, then save again",
            )

    def record(self, changes: list[Change]) -> None:
        """Write changes to the journal. Raises OSError; then none is kept."""
        if not self.read_only:
            self._file.record(changes)

    def shorten(self) -> None:
        """Write the JSON anew when the journal has become long."""
        if self._file.is_long():
            self._file.try_rewrite(self.index.model)

    def make(self, change: Change) -> None:
        """Keep one change, then show it. Raises OSError; then it is not made."""
        with self.lock:
            self.record([change])
            self.index.apply([change])
            self.shorten()

    def note(self, change: Change) -> None:
        """Make a change that touches no file. Raises PoolError 507."""
        what = "the note" if change.image is None else f"the note on {change.image}"
        if not self.read_only:
            self.check_writable(what)
        try:
            self.make(change)
        except OSError as error:
            raise cannot_write(what, error) from error
