"""Backing up a pool while its server runs; `pool.backup.restore` restores it.

A backup holds `state/pool.db` (the database as one SQLite file, even if it came from PostgreSQL), the other
files of the state folder, such as `state/model.pt` and `state/drafts`, and from a studies folder the
datastore's index, labels and versions.
"""

from __future__ import annotations

import os
import platform
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pool.backup.archive import BackupError, Progress, Writer
from pool.backup.tables import copy_tables, snapshot
from pool.database import migration
from pool.database.connect import connect

_DATASTORE = ("datastore_v2.journal", "datastore_v2.json")  # in reading order
_LABELS = ("labels", "versions")  # subfolders of the studies folder


def state_files(state: Path) -> list[Path]:
    """Return the files of a state folder other than its database, such as the model, and its drafts."""
    if not state.is_dir():
        return []
    files = (path for path in sorted(state.iterdir()) if path.is_file() and not path.name.startswith("."))
    own = [path for path in files if not path.name.startswith("pool.db") and path.suffix != ".lock"]
    return own + sorted((state / "drafts").glob("*.draft"))


def studies_files(studies: Path, images: bool) -> list[Path]:
    """Return the datastore's JSON and journal, labels and versions; with `images`, every file."""
    files = (path for path in sorted(studies.rglob("*")) if path.is_file() and path.suffix != ".lock")
    relative = ((path, path.relative_to(studies).parts) for path in files)
    return [
        path
        for path, names in relative
        if not any(name.startswith(".") for name in names)
        and (images or names[0] in (_LABELS if len(names) > 1 else _DATASTORE))
    ]


def back_up(
    studies: Path | None, state: Path, url: str, out: Path, images: bool, progress: Progress
) -> dict[str, Any]:
    """Write a backup to `out`, a .tar file or a folder, all or nothing; return the facts in its manifest.

    The database is copied before the labels, so a label saved meanwhile may be in the backup while its
    hand-out is still open; the server notices this when it opens the pool.

    :param studies: the studies folder; None for a DICOMweb store, which keeps images and labels itself
    """
    if out.exists():
        raise BackupError(f"{out} already exists; name another file, nothing is overwritten")
    if studies and not studies.is_dir():
        raise BackupError(f"{studies}: no such studies folder; check the path")
    if not out.parent.is_dir():
        raise BackupError(f"{out.parent}: no such folder; create it or name another")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        database, unfinished = Path(temporary) / "pool.db", Path(temporary) / "backup"
        rows = _portable(state, url, database)
        writer = Writer(unfinished, out.suffix == ".tar", progress)
        writer.add("state/pool.db", database)
        for path in state_files(state):
            _add(writer, f"state/{path.relative_to(state).as_posix()}", path)
        if studies:
            _add_studies(writer, studies, images)
        facts = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "studies": str(studies) if studies else None,
            "images": images,
            "rows": rows,
            "versions": {
                "scan-selection": version("monailabel-scan-selection"),
                "database": migration.newest_revision(),
                "python": platform.python_version(),
            },
        }
        writer.close(facts)
        os.rename(unfinished, out)
    return facts | {"files": writer.files}


def _add_studies(writer: Writer, studies: Path, images: bool) -> None:
    """Add the files of the studies folder, until no new ones have appeared in the meantime."""
    added: set[Path] = set()
    while new := [path for path in studies_files(studies, images) if path not in added]:
        for path in new:
            added.add(path)
            _add(writer, f"studies/{path.relative_to(studies).as_posix()}", path)


def _add(writer: Writer, name: str, path: Path) -> None:
    with suppress(FileNotFoundError):  # replaced or removed since it was listed
        writer.add(name, path)


def _portable(state: Path, url: str, file: Path) -> dict[str, int]:
    """Copy the pool's database to one SQLite file; return the number of rows of each table."""
    if not url and not (state / "pool.db").is_file():
        raise BackupError(f"{state} has no pool.db: name the pool's state folder; the server's log shows it")
    source, target = connect(state / "pool.db", url), connect(file)
    try:
        migration.migrate(target)
        with snapshot(source) as before:
            revision = migration.revision(before)
            if revision != migration.newest_revision():
                raise BackupError(
                    f"the database has revision {revision}, this version needs "
                    f"{migration.newest_revision()}: "
                    "start the server once to upgrade it, or use the version the server runs"
                )
            with target.begin() as after:
                return copy_tables(before, after)
    finally:
        source.dispose()
        target.dispose()  # the last connection folds SQLite's journal into the file
