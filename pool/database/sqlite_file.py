"""The file of a pool's SQLite database: is it whole, is it the one that was opened, is all on the disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from pool.files import sync_file

_MAX_COMPLAINTS = 3  # of SQLite, in a message


class DamagedError(RuntimeError):
    """Raised for a database that SQLite finds damaged; the text names the file."""


def check_pages(file: Path) -> None:
    """Read all pages of a database that exists. Raises DamagedError."""
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(file, timeout=30)) as connection:
            rows = connection.execute(f"PRAGMA quick_check({_MAX_COMPLAINTS})").fetchall()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # no permission, a full disk: not the file's fault
            raise
        raise DamagedError(f"the pool's database {file} is damaged ({error})") from error
    found = [str(row[0]).replace("\n", " ") for row in rows]
    if found != ["ok"]:
        raise DamagedError(f"the pool's database {file} is damaged ({'; '.join(found)})")


def file_identity(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from one that takes its place under the same name; None when it is gone."""
    try:
        facts = file.stat()
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def fold_journal(engine: sa.Engine, file: Path) -> None:
    """Move what lies in the write-ahead log into the database's own file, and that onto the disk."""
    with closing(engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sync_file(file)
