"""Backups of a running server's pool: one whenever it is due, made by a process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from pool.backup.archive import BackupError
from pool.backup.regular import Made, backups_of, made_of, make_backup, seconds_of
from pool.database.state import State
from server.tasks import log_lines, start_child

logger = logging.getLogger(__name__)
_FIRST = 3600.0  # seconds after the start, until the first backup of a pool that has none
_RETRY = 3600.0  # after one that failed
_REST = 60.0  # at most, between two looks at a pool where nothing has happened


class Backups:
    """Makes a backup of a pool when the last one is too old and something has happened since.

    :param studies: the studies folder; None for a DICOMweb store
    :param url: of a PostgreSQL database, "" without one
    :param every: time between two backups, as the setting `backup_every`
    """

    def __init__(self, state: State, studies: Path | None, url: str, every: str, keep: int) -> None:
        self._state, self._every = state, seconds_of(every)
        self._request = {
            "studies": str(studies) if studies else None,
            "state": str(state.folder),
            "url": url,
            "keep": keep,
        }
        self._started, self._retry_at = time.monotonic(), 0.0
        self._newest: tuple[Path, Made | None] | None = None
        self._process: subprocess.Popen[str] | None = None

    def look(self) -> None:
        """Start a backup if one is due; say how the last one ended. Called every second."""
        if self._process is not None:
            self._look_at_process()
        elif self._is_due():
            self._process = process = start_child("backup", subprocess.STDOUT)
            assert process.stdin is not None
            with process.stdin as stdin:
                json.dump(self._request, stdin)
            threading.Thread(target=_log, args=(process,), name="backup-log", daemon=True).start()

    def _is_due(self) -> bool:
        if not self._every or time.monotonic() < self._retry_at or self._state.loss():
            return False
        if not (files := backups_of(self._state.folder)):
            return time.monotonic() > self._started + min(self._every, _FIRST)
        if (made := self._made(files[-1])) is None:
            return True
        if abs(time.time() - made.created) < self._every:  # one from the future: the clock was set back
            return False
        self._retry_at = time.monotonic() + min(self._every, _REST)
        return self._state.ledger.count() != made.entries

    def _made(self, backup: Path) -> Made | None:
        """Return what is known of a backup; None for a damaged one. Each is read once."""
        if self._newest is None or self._newest[0] != backup:
            try:
                self._newest = (backup, made_of(backup))
            except BackupError as error:
                logger.warning("The newest backup is damaged, so another is made: %s", error)
                self._newest = (backup, None)
        return self._newest[1]

    def _look_at_process(self) -> None:
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return
        self._process = None
        if code:
            self._retry_at = time.monotonic() + _RETRY
            logger.error("The backup failed (exit code %d); it is tried again in an hour", code)


def run(request: dict[str, Any]) -> None:
    """Make the backup that a server asks for."""
    studies = Path(request["studies"]) if request["studies"] else None
    made = make_backup(studies, Path(request["state"]), request["url"], request["keep"])
    print(f"Backup: {made} ({made.stat().st_size >> 20} MiB)")


def _log(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for _ in log_lines("backup", process.stdout):
        pass
