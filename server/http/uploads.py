"""Files that come with a request, in private folders under names of the server's own."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import HTTPException, UploadFile

_EXTENSION = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}$")


def extension_of(name: str | None, default: str = ".nii.gz") -> str:
    """The last one or two endings of a client's file name, as `.seg.nrrd`; `default` without a name."""
    if not name:
        return default
    found = _EXTENSION.search(name)
    return found[0] if found else ""


def shown_name(name: str | None) -> str:
    """The last part of a client's file name, for messages and downloads."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return last.encode("utf-8", "replace").decode() or "upload"  # a form can hold half characters


@contextmanager
def called(path: Path, name: str) -> Iterator[None]:
    """In errors that the block raises, a file has the name that its client gave it, not the server's path."""
    try:
        yield
    except HTTPException as error:
        raise HTTPException(error.status_code, str(error.detail).replace(str(path), name)) from error


@contextmanager
def received(upload: UploadFile, name: str = "upload") -> Iterator[Path]:
    """An uploaded file on the disk while the block runs. Raises HTTPException 507 for a full disk."""
    with tempfile.TemporaryDirectory(prefix="scan-selection-") as folder:
        path = write(upload, Path(folder) / (name + extension_of(upload.filename)))
        with called(path, shown_name(upload.filename)):
            yield path


def write(upload: UploadFile, target: Path) -> Path:
    """Copy an uploaded file to its place. Raises HTTPException 507."""
    try:
        with open(target, "xb") as file:
            shutil.copyfileobj(upload.file, file)
    except OSError as error:
        raise HTTPException(
            507, f"the upload cannot be written: {error.strerror}; make room on its disk"
        ) from error
    return target
