"""Backups that a server makes by itself, in the folder `backups` of the state; the oldest are removed."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

from pool.backup.backup import back_up

_FOLDER, _NAME = "backups", "pool-*.tar"
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """Return the seconds that a text such as 30m, 24h or 7d means; 0 for "0". Raises ValueError."""
    if text.strip() == "0":
        return 0.0
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([mhd])\s*", text)
    if not found or not float(found[1]):
        raise ValueError(f"{text!r} is no time between backups: write 30m, 24h or 7d, or 0 for none")
    return float(found[1]) * _SECONDS[found[2]]


def backups_of(state: Path) -> list[Path]:
    """Return the backups in a state folder, oldest first."""
    return sorted((state / _FOLDER).glob(_NAME))


def make_backup(studies: Path | None, state: Path, url: str, keep: int) -> Path:
    """Back up a pool, and remove all but the newest `keep` backups; return the new one.

    :param studies: the studies folder; None for a DICOMweb store
    :param url: of a PostgreSQL database, "" without one

    Raises BackupError, OSError, SQLAlchemyError; the former backups then stay.
    """
    folder = state / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    for unfinished in folder.glob(f".{_NAME}.*"):  # of one that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    out = folder / f"pool-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
    back_up(studies, state, url, out, images=False, progress=lambda done: None)
    for old in backups_of(state)[:-keep]:
        old.unlink(missing_ok=True)
    return out
