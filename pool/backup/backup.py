"""Backing up a pool while its server runs; `pool.backup.restore` puts it back.

A backup has `state/pool.db`, the database as one SQLite file wherever it came from; the other files of the
state folder, such as `state/model.pt`; and of a studies folder the datastore's files, labels and versions.
"""

from __future__ import annotations

import os
import platform
import tempfile
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pool.backup.archive import BackupError, Progress, Writer
from pool.backup.tables import copy_tables, snapshot
from pool.database import schema
from pool.database.connect import connect

_DATASTORE = ("datastore_v2.journal", "datastore_v2.json")  # in the order that they are read in
_LABELS = ("labels", "versions")  # folders below the studies


def state_files(state: Path) -> list[Path]:
    """Files of a state folder beside its database: the model, and what else is kept there."""
    if not state.is_dir():
        return []
    ours = (path for path in sorted(state.iterdir()) if path.is_file() and not path.name.startswith("."))
    return [path for path in ours if not path.name.startswith("pool.db") and path.suffix != ".lock"]


def studies_files(studies: Path, images: bool) -> list[Path]:
    """Of a studies folder the datastore's JSON and journal, labels and versions; with `images` everything."""
    found = (path for path in sorted(studies.rglob("*")) if path.is_file() and path.suffix != ".lock")
    parts = ((path, path.relative_to(studies).parts) for path in found)
    return [
        path
        for path, names in parts
        if not any(name.startswith(".") for name in names)
        and (images or names[0] in (_LABELS if len(names) > 1 else _DATASTORE))
    ]


def back_up(
    studies: Path | None, state: Path, url: str, out: Path, images: bool, progress: Progress
) -> dict[str, Any]:
    """Write a backup to `out`, a .tar file or a folder, whole or not at all; returns its manifest's facts.

    The database comes first and the labels after it: what is saved meanwhile may be in the backup as a label
    whose hand-out is still open, and is noticed as such when the pool is opened.

    :param studies: the studies folder; None for a DICOMweb store, which keeps images and labels itself
    """
    if out.exists():
        raise BackupError(f"{out} is there already; name another file, nothing is overwritten")
    if studies and not studies.is_dir():
        raise BackupError(f"{studies}: there is no such studies folder")
    if not out.parent.is_dir():
        raise BackupError(f"{out.parent}: there is no such folder to write to")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        database, whole = Path(temporary) / "pool.db", Path(temporary) / "backup"
        rows = _portable(state, url, database)
        writer = Writer(whole, out.suffix == ".tar", progress)
        writer.add("state/pool.db", database)
        for path in state_files(state):
            writer.add(f"state/{path.name}", path)
        if studies:
            _add_studies(writer, studies, images)
        facts = {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "studies": str(studies) if studies else None,
            "images": images,
            "rows": rows,
            "versions": {
                "scan-selection": version("monailabel-scan-selection"),
                "database": schema.newest_revision(),
                "python": platform.python_version(),
            },
        }
        writer.close(facts)
        os.rename(whole, out)
    return facts | {"files": writer.files}


def _add_studies(writer: Writer, studies: Path, images: bool) -> None:
    """Files of the studies folder, until no new one has come meanwhile."""
    done: set[Path] = set()
    while todo := [path for path in studies_files(studies, images) if path not in done]:
        for path in todo:
            done.add(path)
            try:
                writer.add(f"studies/{path.relative_to(studies).as_posix()}", path)
            except FileNotFoundError:  # replaced or removed a moment ago
                continue


def _portable(state: Path, url: str, file: Path) -> dict[str, int]:
    """The pool's database as one SQLite file; returns the number of rows of each table."""
    if not url and not (state / "pool.db").is_file():
        raise BackupError(f"{state} has no pool.db: name the pool's state folder, as the server's log does")
    source, target = connect(state / "pool.db", url), connect(file)
    try:
        schema.migrate(target)
        with snapshot(source) as before:
            revision = schema.revision(before)
            if revision != schema.newest_revision():
                raise BackupError(
                    f"the database is of revision {revision}, this version has {schema.newest_revision()}: "
                    "start its server once, which brings it up to date, or use the server's own version"
                )
            with target.begin() as after:
                return copy_tables(before, after)
    finally:
        source.dispose()
        target.dispose()  # the last connection folds SQLite's journal into the file
