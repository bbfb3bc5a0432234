"""The labelled part of a pool as one zip file, laid out as stock MONAI Label does."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence


def write_archive(pairs: Sequence[Mapping[str, str]], metadata: str) -> str:
    """Write `image/...`, `label/...` and `metadata.json` into a new temporary zip file; returns its path.

    Raises OSError when a file is gone or the disk is full; then no file is left.

    :param pairs: paths of each image and its label
    :param metadata: JSON of the datastore
    """
    handle, path = tempfile.mkstemp(suffix=".zip")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, mode="w") as archive:
            for pair in pairs:
                for kind, source in pair.items():
                    archive.write(source, arcname=os.path.join(kind, os.path.basename(source)))
            archive.writestr("metadata.json", metadata)
    except BaseException:
        os.unlink(path)
        raise
    return path
