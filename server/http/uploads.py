"""Files sent with a request, stored in private folders under names of the server's own."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import HTTPException, UploadFile

from pool.errors import PoolError

_EXTENSION = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}$")


def extension_of(name: str | None, default: str = ".nii.gz") -> str:
    """Return the last one or two extensions of a file name, as `.seg.nrrd`; `default` without a name."""
    if not name:
        return default
    match = _EXTENSION.search(name)
    return match[0] if match else ""


def shown_name(name: str | None) -> str:
    """Return the last part of a client's file name, for messages and downloads."""
    base = (name or "").replace("\\", "/").rpartition("/")[2]
    return base.encode("utf-8", "replace").decode() or "upload"  # a form can hold lone surrogates


@contextmanager
def called(path: Path, name: str) -> Iterator[None]:
    """Replace the server's path by the client's file name in errors that the block raises."""
    try:
        yield
    except PoolError as error:
        raise PoolError(error.status, error.text.replace(str(path), name)) from error
    except HTTPException as error:
        raise HTTPException(error.status_code, str(error.detail).replace(str(path), name)) from error


@contextmanager
def received(upload: UploadFile, name: str = "upload") -> Iterator[Path]:
    """Store an uploaded file on disk for the block. Raises HTTPException 507 for a full disk."""
    with tempfile.TemporaryDirectory(prefix="scan-selection-") as folder:
        path = write(upload, Path(folder) / (name + extension_of(upload.filename)))
        with called(path, shown_name(upload.filename)):
            yield path


def write(upload: UploadFile, target: Path) -> Path:
    """Write an uploaded file to `target`. Raises HTTPException 507."""
    try:
        with open(target, "xb") as file:
            shutil.copyfileobj(upload.file, file)
    except OSError as error:
        raise HTTPException(
            507, f"the upload cannot be written: {error.strerror}; make room on the server's disk"
        ) from error
    return target
