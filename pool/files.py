"""Atomic file writes: a kill, a power cut or a full disk leaves the old file or the new one, intact."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pool.errors import PoolError

logger = logging.getLogger(__name__)
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp(-.*)?|\.model\.pt\.\d+\.tmp")  # the latter of former versions
_FORMER_PART = re.compile(r"\.part-.*")  # of former versions, in caches only


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that files added to it or removed from it stay so after a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:  # not supported on some network and FUSE file systems
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create a folder, with its parents, and sync it to disk."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def share(path: Path, like: Path) -> None:
    """Give a new file or folder the mode and the group of a folder, so that a team can work on both.

    A file gets no right to be executed. What the file system or the group does not allow is logged, since
    the file itself is kept.
    """
    model, own = like.stat(), path.stat()
    mode = stat.S_IMODE(model.st_mode) & (0o7777 if path.is_dir() else 0o666)
    try:
        if own.st_gid != model.st_gid:
            os.chown(path, -1, model.st_gid)
        if stat.S_IMODE(own.st_mode) != mode:
            path.chmod(mode)
    except OSError as error:
        logger.warning("%s does not get the mode and the group of %s: %s", path, like, error)


def make_shared_folder(folder: Path, like: Path) -> None:
    """Create a folder, with its parents, each with the mode and the group of another."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        make_folder(path)
        share(path, like)


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a new hidden file; sync it when the block succeeds, remove it when the block raises."""
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
    """Write `data` to `target`, replacing any file there."""
    with _temporary(target.parent) as (path, file):
        file.write(data)
    move_into_place(path, target)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a hidden path to write to, which replaces the target whole when the block ends well.

    Its name ends as the target's, for libraries that look at the extension.
    """
    make_folder(target.parent)
    path = target.with_name(f".{uuid.uuid4().hex}.tmp-{target.name}")
    try:
        yield path
        sync_file(path)
        move_into_place(path, target)
    finally:
        path.unlink(missing_ok=True)


def fill_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return a folder that `fill` made whole, unless it is there already."""
    if target.is_dir():
        return target
    make_folder(target.parent)
    part = target.with_name(f".{uuid.uuid4().hex}.tmp-{target.name}")
    part.mkdir()
    try:
        fill(part)
        for file in part.iterdir():
            sync_file(file)
        sync_folder(part)
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster, with the same content
                raise
        sync_folder(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def sync_file(file: Path) -> None:
    """Make a file's content last through a power cut."""
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())


def new_copy(source: Path, folder: Path) -> Path:
    """Make a hidden copy in `folder`, to be moved into place later."""
    with _temporary(folder) as (path, file), open(source, "rb") as original:
        shutil.copyfileobj(original, file)
    return path


def move_into_place(path: Path, target: Path) -> None:
    """Rename a file within its folder and sync the folder."""
    try:
        os.replace(path, target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where the file system has no hard links. Raises FileExistsError."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        move_into_place(new_copy(source, target.parent), target)
    sync_folder(target.parent)


def remove_leftovers(*folders: Path) -> None:
    """Remove temporary files of a killed process; no other process may be writing to these folders."""
    for folder in filter(Path.is_dir, folders):
        for path in list(folder.glob(".*")):
            if _TEMPORARY.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)


def clean_cache(cache: Path) -> None:
    """Remove temporary files and folders of killed processes from a cache, in all its folders."""
    for path in list(cache.rglob(".*")):
        if _TEMPORARY.fullmatch(path.name) or _FORMER_PART.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def cannot_write(what: str, error: OSError) -> PoolError:
    """Return the error to raise when a file could not be written."""
    return PoolError(507, f"{what}: the server could not write it ({error}); {advice(error)}")


def advice(error: OSError) -> str:
    """Return what to do about a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the server's disk, then save again"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "make its folder writable for the server's user, then start the server again"
    return "look at the server's disk, then save again"
