"""The labelled part of a pool as one zip file, laid out as stock MONAI Label does."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from pool.errors import PoolError

logger = logging.getLogger(__name__)


def write_archive(pairs: Sequence[Mapping[str, str]], metadata: str) -> str:
    """Write `image/...`, `label/...` and `metadata.json` into a new temporary zip file; returns its path.

    A pair that is removed meanwhile is named in the log and left out. Raises PoolError 404 without a pair,
    OSError for a full disk; then no file is left.

    :param pairs: paths of each image and its label
    :param metadata: JSON of the datastore
    """
    handle, path = tempfile.mkstemp(suffix=".zip")
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, mode="w") as archive:
            count = sum(_add(archive, pair) for pair in pairs)
            archive.writestr("metadata.json", metadata)
        if not count:
            raise PoolError(404, "nothing is labelled yet")
    except BaseException:
        os.unlink(path)
        raise
    return path


def _add(archive: zipfile.ZipFile, pair: Mapping[str, str]) -> bool:
    """Add the files of a pair; False when they are gone."""
    with ExitStack() as files:
        try:
            opened = {kind: files.enter_context(open(source, "rb")) for kind, source in pair.items()}
        except FileNotFoundError as error:
            logger.warning("Left out of the archive, since it was removed meanwhile: %s", error.filename)
            return False
        for kind, source in opened.items():
            with archive.open(
                os.path.join(kind, os.path.basename(pair[kind])), "w", force_zip64=True
            ) as target:
                shutil.copyfileobj(source, target)
    return True
