"""Opening a pool: its settings, its state, exclusive or shared with other servers, its images and labels.

The server, its child processes and the commands open a pool in this one way. Nothing here imports PyTorch, or
DICOM for a pool in a folder.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from bundle_configs import Bundle
from infers.encoders.keys import pool_encoder_key
from pool.backup.regular import backups_of, seconds_of
from pool.database.database import Busy, reason_of
from pool.database.sqlite_file import DamagedError
from pool.database.state import State
from pool.datastore.store import InUse, PoolDatastore
from pool.files import remove_leftovers
from pool.groups import Groups, read_groups
from pool.label_states import Judge
from pool.protocol import PoolStore
from server.config import Config, ConfigError
from server.places import state_folder
from strategies.context import Context
from strategies.settings import Settings

if TYPE_CHECKING:
    from pool.dicomweb.store import DicomWebPool

logger = logging.getLogger(__name__)
_LOCK_TIMEOUT = 5.0  # seconds: a server that was just killed may take a moment to let go


@dataclass(frozen=True)
class OpenPool:
    """An open pool without its images.

    :param bundle: the app's bundle with the overrides of the settings
    :param locks: held by a server for life against other servers
    """

    bundle: Bundle
    context: Context
    locks: ExitStack


def is_url(studies: str) -> bool:
    """Return True for the URL of a DICOMweb server, False for a folder."""
    return studies.startswith(("http://", "https://"))


def open_pool(app_dir: str, studies: str, bundle: str, config: Config, in_server: bool) -> OpenPool:
    """Open a pool's state and settings; a server locks it against others.

    Raises ConfigError, or FileNotFoundError or ValueError for an encoder that cannot be used.
    """
    chosen, settings = Bundle(bundle, config.overrides), config.settings
    _check_backup_time(settings.backup_every)
    key = pool_encoder_key(settings.encoder, settings.encoder_weights or None, chosen)
    folder = state_folder(app_dir, studies, settings.state)
    if is_url(studies) and settings.shared_studies:
        raise ConfigError(
            "--conf shared_studies is for a folder of studies; with a DICOMweb server the nodes read its "
            "cache, which must be at the same path on all of them (docs/how-to/cluster.md)"
        )
    several = bool(settings.database) and is_url(studies)
    locks = ExitStack()
    if in_server and not several:
        locks.callback(lock_folder(folder).release)
        if not trains_now(folder):
            remove_leftovers(folder)  # of a training that was killed while it published
    state, held = open_state(folder, settings.database, in_server, several)
    locks.push(held)
    context = Context(state, settings, key, groups=open_groups(settings.groups))
    return OpenPool(chosen, context, locks)


def lock_folder(folder: Path) -> FileLock:
    """Lock a pool's state for the life of this server, against a second one. Raises ConfigError."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "server.lock", is_singleton=True)
    try:
        lock.acquire(timeout=_LOCK_TIMEOUT)
    except Timeout:
        raise ConfigError(
            f"another server works on this pool (it holds {lock.lock_file}); stop it, or name another "
            "folder with --conf state"
        ) from None
    return lock


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
            locks.callback(state.serve(_LOCK_TIMEOUT, several).close)
    except DamagedError as error:
        raise ConfigError(f"{error}. {_remedy(folder)}") from None
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


def _check_backup_time(text: str) -> None:
    try:
        seconds_of(text)
    except ValueError as error:
        raise ConfigError(f"--conf backup_every: {error}") from None


def _remedy(folder: Path) -> str:
    """Say how to go on with a damaged database: with the newest backup that is whole, if there is one."""
    from pool.backup.archive import BackupError, Reader  # not needed in a start that succeeds

    for path in reversed(backups_of(folder)):
        try:
            Reader(path).check(lambda done: None)
        except BackupError:
            continue
        return f"Its newest good backup is {path}: restore it to a new state folder (docs/how-to/backup.md)"
    return (
        "There is no backup in its folder: restore one of yours, or move the file away and start again; then "
        "everything is computed anew from images and labels, and only the ledger is lost "
        "(docs/how-to/backup.md)"
    )


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
    settings: Settings,
    folder: Path,
    changed: Callable[[], None] | None = None,
    saved: Callable[[str, str, dict[str, Any]], None] | None = None,
    read_only: bool = True,
    judge: Judge | None = None,
) -> PoolDatastore | DicomWebPool:
    """Open a checked local folder, or a DICOMweb server for a URL; `folder` is that of the state.

    :param read_only: False in a server only
    :param judge: compares a label that is being saved with predictions and with other labels

    Raises ConfigError.
    """
    if not is_url(studies):
        try:
            return PoolDatastore(
                studies,
                bundle.get("labels"),
                changed,
                read_only,
                saved,
                trusts_files=False,
                recursive=settings.recursive,
                judge=judge,
                counts_unedited=settings.train_on_unedited,
                accepts_empty=settings.empty_labels == "accept",
            )
        except InUse as error:
            raise ConfigError(str(error)) from None
    from pool.dicomweb.client import ServerError  # slow to import, as all of DICOM

    try:
        pool = _open_dicomweb(studies.rstrip("/"), bundle, settings, folder, changed, saved, read_only, judge)
    except ServerError as error:
        raise ConfigError(f"--studies {studies}: {error.text}") from error
    if not read_only:
        logger.info("DICOMweb pool %s: %d series", studies, len(pool.list_images()))
    return pool


def take_in_checks(state: State, store: PoolStore) -> None:
    """Tell a datastore which final labels count, as far as the worker has checked them."""
    store.take_in_checks(state.label_checks.news(store))


def _open_dicomweb(
    url: str,
    bundle: Bundle,
    chosen: Settings,
    folder: Path,
    changed: Callable[[], None] | None,
    saved: Callable[[str, str, dict[str, Any]], None] | None,
    read_only: bool,
    judge: Judge | None,
) -> DicomWebPool:
    """Open the pool of a DICOMweb server, cached with the state or where MONAI Label's setting says."""
    from monailabel.config import settings

    from pool.dicomweb.bearer import bearer_of
    from pool.dicomweb.store import DicomWebPool, search_filters

    if kind := settings.MONAI_LABEL_DATASTORE:
        raise ConfigError(f"MONAI_LABEL_DATASTORE={kind}: only DICOMweb servers are supported; unset it")
    if chosen.dicomweb_token_env and chosen.dicomweb_token_command:
        raise ConfigError("--conf dicomweb_token_env and dicomweb_token_command: set one of the two")
    names = (chosen.modality or ",".join(bundle.get("modalities"))).upper().split(",")
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
        judge=judge,
        counts_unedited=chosen.train_on_unedited,
        accepts_empty=chosen.empty_labels == "accept",
        bearer=bearer_of(chosen.dicomweb_token_env, chosen.dicomweb_token_command),
    )
