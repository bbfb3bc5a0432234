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


@contextmanager
def received(upload: UploadFile, name: str = "upload") -> Iterator[Path]:
    """An uploaded file on the disk while the block runs. Raises HTTPException 507 for a full disk."""
    with tempfile.TemporaryDirectory(prefix="scan-selection-") as folder:
        yield write(upload, Path(folder) / (name + extension_of(upload.filename)))


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
