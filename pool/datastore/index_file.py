"""The index on disk: MONAI Label's JSON, and a journal of the changes since it was written."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from pool.datastore.index import Change, apply
from pool.datastore.journal import Journal, Lines, read_journal, set_damaged_aside
from pool.datastore.model import LocalDatastoreModel
from pool.files import move_into_place, write_atomically

logger = logging.getLogger(__name__)
_MAX_JOURNAL = 10_000  # changes, or a tenth of the pool; past it the JSON is written again


class InUse(RuntimeError):
    """Another process writes this studies folder."""


def lock_studies(folder: Path, seconds: float = 10) -> FileLock:
    """Held as long as a server writes in the folder. Raises InUse, or OSError where nobody may write.

    :param seconds: how long to wait, since a server that was just killed may need a moment to let go
    """
    lock = FileLock(folder / ".server.lock", thread_local=False)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise InUse(
            f"another server works on the studies folder {folder} (it holds {lock.lock_file}); "
            "stop it, or start this one on another folder"
        ) from None
    return lock


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class IndexFile:
    """The JSON and the journal of one folder.

    :param folder: the studies folder
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.json = folder, folder / "datastore_v2.json"
        self._journal_file = folder / "datastore_v2.journal"
        self._journal = Journal(self._journal_file)
        self._sha, self._next_rewrite = "", _MAX_JOURNAL
        self._read: tuple[tuple[int, ...], int] | None = (
            None  # JSON and number of changes that `read` has seen
        )

    # reading ------------------------------------------------------------------------------------------

    def read(self) -> LocalDatastoreModel:
        """Read what a server left or is writing now. Raises ValueError for a damaged JSON."""
        for _ in range(20):
            stamp = self._stamp()
            lines = read_journal(self._journal_file)  # first, since the server writes the JSON first
            data = self.json.read_bytes() if self.json.exists() else b""
            if lines.over is None or lines.over == _sha(data):
                break
            time.sleep(0.05)  # the server has just written its JSON anew
        is_stable = data and not lines.damaged and stamp == self._stamp()
        self._sha, self._read = _sha(data), (stamp, len(lines.changes)) if is_stable else None
        return self._replayed(data, lines)

    def changes_since_read(self) -> list[Change] | None:
        """Return the changes since the last `read`; None when all must be read again."""
        stamp = self._stamp()
        if self._read is None or self._read[0] != stamp:
            return None
        lines, seen = read_journal(self._journal_file), self._read[1]
        is_same = lines.over == self._sha if lines.changes else not seen
        if lines.damaged or not is_same or len(lines.changes) < seen or stamp != self._stamp():
            return None
        self._read = stamp, len(lines.changes)
        return lines.changes[seen:]

    def _stamp(self) -> tuple[int, ...]:
        """Return what tells one written JSON from the next."""
        try:
            status = self.json.stat()
        except FileNotFoundError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def open(self) -> tuple[LocalDatastoreModel, bool]:
        """Return the kept model, for the process that writes, and whether the JSON must be written anew.

        Damaged files are set aside with a message; labels that a kill left on their way get to their place.
        """
        lines = read_journal(self._journal_file)
        if lines.damaged:
            set_damaged_aside(self._journal_file, lines.damaged)
        data = self.json.read_bytes() if self.json.exists() else b""
        try:
            model = self._replayed(data, lines)
        except ValueError:
            aside = self.json.with_name(f"{self.json.name}.damaged-{time.time_ns()}")
            os.replace(self.json, aside)
            logger.error("%s is damaged; it is kept as %s and rebuilt from the files", self.json, aside.name)
            data, model = b"", self._replayed(b"", lines)
        if not data or lines.over == _sha(data):
            self._finish_moves(model, lines.changes)
        self._sha = _sha(data) if data else ""
        return model, not data or self._journal_file.exists()

    def _replayed(self, data: bytes, lines: Lines) -> LocalDatastoreModel:
        model = self._parsed(data)
        for change in lines.changes:
            apply(model, change)
        if data and lines.changes and lines.over != _sha(data):
            model = _merged(self._parsed(data), model)
        model.base_path = str(self.folder)
        return model

    def _parsed(self, data: bytes) -> LocalDatastoreModel:
        if data or self.json.exists():  # an empty file is a damaged one
            return LocalDatastoreModel.model_validate_json(data)
        return self.empty()

    def empty(self) -> LocalDatastoreModel:
        """A new datastore, as stock MONAI Label names it."""
        return LocalDatastoreModel(
            name="new-dataset", description="New Dataset", images_dir=".", base_path=str(self.folder)
        )

    def _finish_moves(self, model: LocalDatastoreModel, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.image is not None and change.tag is not None and change.file is not None:
                folder = Path(model.label_path(change.tag))
                if (folder / change.file).is_file():
                    move_into_place(folder / change.file, folder / (change.image + change.ext))

    # writing ------------------------------------------------------------------------------------------

    def record(self, changes: list[Change]) -> None:
        """Keep changes. Raises OSError; then none is kept."""
        self._journal.append(changes, self._sha)

    def rewrite(self, model: LocalDatastoreModel) -> None:
        """Write the JSON as stock MONAI Label reads it, and end the journal. Raises OSError."""
        text = model.model_dump_json(exclude={"base_path"}, indent=2, ensure_ascii=True, fallback=str)
        write_atomically(self.json, text.encode())
        self._sha = _sha(text.encode())
        self._journal.clear()
        self._next_rewrite = max(_MAX_JOURNAL, len(model.objects) // 10)

    def is_long(self, more: int = 0) -> bool:
        """Tell whether the journal, with `more` changes, has become long."""
        return self._journal.length + more > self._next_rewrite

    def try_rewrite(self, model: LocalDatastoreModel) -> None:
        """Shorten the journal where that is possible now; without it nothing is lost."""
        try:
            if self._journal.length:
                self.rewrite(model)
        except OSError as error:
            self._next_rewrite = self._journal.length + 1000
            logger.error("%s cannot be written (%s); its journal goes on", self.json, error)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


def _merged(written: LocalDatastoreModel, ours: LocalDatastoreModel) -> LocalDatastoreModel:
    """The JSON as another program wrote it after us, with what only our journal knows.

    Stock MONAI Label does not read the journal: it finds labels by their files, without who and when.
    """
    for image, obj in ours.objects.items():
        kept = written.objects.setdefault(image, obj)
        kept.image.info = obj.image.info | kept.image.info
        for tag, label in obj.labels.items():
            found = kept.labels.get(tag)
            if found is None or (found.ext == label.ext and set(found.info) <= {"ts", "name"}):
                kept.labels[tag] = label
    return written
