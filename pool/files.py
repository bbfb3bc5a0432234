"""Writing files so that a kill, a power cut or a full disk leaves the old one or the new one, whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pool.errors import PoolError

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


def sync_folder(folder: Path) -> None:
    """Make what came into a folder, or left it, last through a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network and FUSE file systems have no such call
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """A folder that is there to stay."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new hidden file, on the disk when the block ends well, removed when it does not."""
    path = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        with open(path, "xb") as file:
            yield path, file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_atomically(target: Path, data: bytes) -> None:
    """Replace a file whole."""
    with _temporary(target.parent) as (path, file):
        file.write(data)
    move_into_place(path, target)


def new_copy(source: Path, folder: Path) -> Path:
    """A hidden copy in `folder`, to be moved into place later."""
    with _temporary(folder) as (path, file), open(source, "rb") as original:
        shutil.copyfileobj(original, file)
    return path


def move_into_place(path: Path, target: Path) -> None:
    """Rename within a folder; the new name lasts."""
    try:
        os.replace(path, target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        move_into_place(new_copy(source, target.parent), target)
    sync_folder(target.parent)


def remove_leftovers(*folders: Path) -> None:
    """Remove the hidden files of a process that was killed; nobody else may be writing here."""
    for folder in filter(os.path.isdir, folders):
        with os.scandir(folder) as entries:
            for entry in entries:
                if _TEMPORARY.fullmatch(entry.name):
                    os.unlink(entry.path)


def cannot_write(what: str, error: OSError) -> PoolError:
    """Return the error to raise when a file could not be written."""
    return PoolError(507, f"{what}: the server could not write it ({error}); {advice(error)}")


def advice(error: OSError) -> str:
    """What to do about a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the server's disk, then save again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "make the studies folder writable for the server's user, then start the server again"
    return "look at the server's disk, then save again"
