"""Backups that a server makes by itself, in the folder `backups` of the state; the oldest are removed."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pool.backup.archive import BackupError, Reader
from pool.backup.backup import back_up

_FOLDER, _FILES, _NAME = "backups", "pool-*.tar", "pool-%Y%m%dT%H%M%SZ.tar"
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


class Made(NamedTuple):
    """When a backup was made, in seconds since the epoch, and the number of its ledger's entries."""

    created: float
    entries: int


def seconds_of(text: str) -> float:
    """Return the seconds that a text such as 30m, 24h or 7d means; 0 for "0". Raises ValueError."""
    if text.strip() == "0":
        return 0.0
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([mhd])\s*", text)
    if not found or not float(found[1]):
        raise ValueError(f"{text!r} is no time between backups: write 30m, 24h or 7d, or 0 for none")
    return float(found[1]) * _SECONDS[found[2]]


def backups_of(state: Path) -> list[Path]:
    """Return the backups that a server made in a state folder, oldest first."""
    return sorted(path for path in (state / _FOLDER).glob(_FILES) if _time_in(path.name))


def made_of(backup: Path) -> Made:
    """Read from a backup when it was made, and of what. Raises BackupError when it is damaged."""
    try:
        manifest = Reader(backup).manifest
        created = datetime.fromisoformat(manifest["created"])
        return Made(created.timestamp(), int(manifest["rows"]["ledger"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BackupError(f"{backup} is damaged ({type(error).__name__}: {error})") from error


def make_backup(studies: Path | None, state: Path, url: str, keep: int) -> Path:
    """Back up a pool, and remove all but the newest `keep` backups; return the new one.

    :param studies: the studies folder; None for a DICOMweb store
    :param url: of a PostgreSQL database, "" without one

    Raises BackupError, OSError, SQLAlchemyError; the former backups then stay.
    """
    folder = state / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    for unfinished in folder.glob(f".{_FILES}.*"):  # of one that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    out = folder / _next_name(backups_of(state))
    back_up(studies, state, url, out, images=False, progress=lambda done: None)
    for old in backups_of(state)[:-keep]:
        old.unlink(missing_ok=True)
    return out


def _time_in(name: str) -> datetime | None:
    try:
        return datetime.strptime(name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


def _next_name(made: list[Path]) -> str:
    """Name a backup by the time; while the clock is behind, by a second more: names are in their order."""
    now = datetime.now(UTC)
    newest = _time_in(made[-1].name) if made else None
    return (max(now, newest + timedelta(seconds=1)) if newest else now).strftime(_NAME)
