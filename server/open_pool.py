"""Opening a pool: its state, exclusive or shared with other servers, and its images and labels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from monailabel.config import settings
from monailabel.interfaces.datastore import Datastore
from sqlalchemy.exc import SQLAlchemyError

from bundle_configs import Bundle
from pool.database.database import Busy, reason_of
from pool.database.state import State
from pool.datastore.store import InUse, PoolDatastore
from pool.dicomweb.client import ServerError
from pool.dicomweb.store import DicomWebPool, search_filters
from pool.groups import Groups, read_groups
from server.config import ConfigError

logger = logging.getLogger(__name__)
_LOCK_TIMEOUT = 10.0  # seconds: a server that was just killed may take a moment to let go


def open_state(folder: Path, url: str, in_server: bool, several: bool) -> tuple[State, ExitStack]:
    """Open the pool's state; also return the locks that a server holds for life against other servers.

    :param url: URL of a PostgreSQL database, "" for SQLite in the folder
    :param several: several servers of one DICOMweb store may share the database

    Raises ConfigError for a database that cannot be used or is held by another server.
    """
    locks = ExitStack()
    try:
        state = State(folder, migrate=in_server, url=url)
        if in_server and url:
            locks.enter_context(state.exclusive("server", timeout=_LOCK_TIMEOUT, shared=several))
    except Busy as error:
        raise ConfigError(f"{error}; stop that server, or give each pool a database of its own") from None
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--conf database: its driver {error.name!r} is not installed; install it with pip"
        ) from None
    except SQLAlchemyError as error:
        if not url:
            raise
        raise ConfigError(
            f"--conf database: {reason_of(error)}; check the URL, PGPASSWORD and that the server is up"
        ) from None
    except ValueError as error:
        raise ConfigError(f"--conf database: {error}") from None
    return state, locks


def open_groups(text: str) -> Groups:
    """Read the groups given by the setting `groups`. Raises ConfigError."""
    try:
        return read_groups(text)
    except ValueError as error:
        raise ConfigError(f"--conf groups {text}: {error}") from None


def trains_now(folder: Path) -> bool:
    """Return whether a training of this pool is running, on any server."""
    lock = FileLock(folder / "training.lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def open_datastore(
    studies: str,
    bundle: Bundle,
    modality: str,
    folder: Path,
    changed: Callable[[], None],
    saved: Callable[[str, str, dict[str, Any]], None],
    read_only: bool,
) -> Datastore:
    """Open a checked local folder, or a DICOMweb server for a URL; `folder` is that of the state.

    :param modality: replaces the bundle's modalities, comma-separated
    :param read_only: True in child processes

    Raises ConfigError.
    """
    try:
        if not studies.startswith(("http://", "https://")):
            return PoolDatastore(studies, bundle.get("labels"), changed, read_only, saved, trusts_files=False)
        pool = _open_dicomweb(studies.rstrip("/"), bundle, modality, folder, changed, saved, read_only)
    except InUse as error:
        raise ConfigError(str(error)) from None
    except ServerError as error:
        raise ConfigError(f"--studies {studies}: {error.text}") from error
    if not read_only:
        logger.info("DICOMweb pool %s: %d series", studies, len(pool.list_images()))
    return pool


def _open_dicomweb(
    url: str,
    bundle: Bundle,
    modality: str,
    folder: Path,
    changed: Callable[[], None],
    saved: Callable[[str, str, dict[str, Any]], None],
    read_only: bool,
) -> DicomWebPool:
    """Open the pool of a DICOMweb server, cached with the state or where MONAI Label's setting says."""
    if kind := settings.MONAI_LABEL_DATASTORE:
        raise ConfigError(f"MONAI_LABEL_DATASTORE={kind}: only DICOMweb servers are supported; unset it")
    names = (modality or ",".join(bundle.get("modalities"))).upper().split(",")
    cache = settings.MONAI_LABEL_DICOMWEB_CACHE_PATH.strip() or folder / "dicom"
    return DicomWebPool(
        url,
        Path(cache) / hashlib.sha256(url.encode()).hexdigest()[:8],
        bundle.get("labels"),
        search_filters([name.strip() for name in names if name.strip()]),
        colors=bundle.get("colors"),
        codes=bundle.get("codes"),
        changed=changed,
        saved=saved,
        read_only=read_only,
        trusts_files=False,
    )
