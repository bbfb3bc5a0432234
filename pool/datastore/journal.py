"""Changes of a datastore since its JSON was written: one line each, on the disk before anyone is told."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pool.datastore.index import Change
from pool.files import sync_folder

logger = logging.getLogger(__name__)


class _Header(BaseModel):
    """The first line: sha256 of the JSON that the changes belong to."""

    model_config = ConfigDict(extra="forbid")
    over: str


@dataclass
class Lines:
    """A journal as read: the JSON it belongs to (None: not known), good changes, numbers of damaged lines."""

    over: str | None = None
    changes: list[Change] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)


def read_journal(file: Path) -> Lines:
    """All changes whose lines are whole; a last line that a kill cut off was never promised to anyone."""
    lines = Lines()
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        data = b""
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            if number == 1:
                lines.over = _Header.model_validate_json(line).over
            else:
                lines.changes.append(Change.model_validate_json(line))
        except ValidationError:
            lines.damaged.append(number)
    return lines


def set_damaged_aside(file: Path, damaged: list[int]) -> None:
    """Keep a copy of a journal with damaged lines; its good lines are used."""
    aside = file.with_name(f"{file.name}.damaged-{time.time_ns()}")
    shutil.copyfile(file, aside)
    logger.error(
        "%s is damaged in line %s; it is kept as %s, the other lines are used",
        file,
        ", ".join(map(str, damaged)),
        aside.name,
    )


class Journal:
    """Appends changes to a file that is made with the first of them."""

    def __init__(self, file: Path) -> None:
        self._file, self._handle = file, -1
        self.length = 0  # changes in the file

    def append(self, changes: Iterable[Change], over: str) -> None:
        """Keep changes to the JSON whose sha256 is `over`. Raises OSError; then none of them is kept."""
        texts = [change.model_dump_json(exclude_defaults=True, fallback=str) for change in changes]
        if self._handle < 0:
            self._handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            sync_folder(self._file.parent)
        size = os.fstat(self._handle).st_size
        header = [] if size else [_Header(over=over).model_dump_json()]
        data = "".join(f"{text}\n" for text in header + texts).encode()
        try:
            written = 0
            while written < len(data):
                written += os.write(self._handle, data[written:])
            os.fsync(self._handle)
        except BaseException:
            os.ftruncate(self._handle, size)  # half a line would spoil the next one
            raise
        self.length += len(texts)

    def clear(self) -> None:
        """The JSON holds it all: no journal is needed."""
        self.close()
        self._file.unlink(missing_ok=True)
        self.length = 0

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
