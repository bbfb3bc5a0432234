"""The identity of a pool, by which another database in the place of the one that was opened is noticed.

Each database has a random name in its table `identity`, made with the tables. Copies and restored backups
keep it: they are the same pool.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from pool.database import schema
from pool.database.sqlite_file import file_identity

_QUERY = "SELECT pool FROM identity"
_ABSENT = ("3D000", "42P01")  # PostgreSQL: there is no such database, no such table
_REMEDY = (
    "Stop the server, put the pool's own database back or restore a backup (docs/how-to/backup.md), and "
    "start again; labels that are saved are safe"
)


class ReplacedError(sa.exc.SQLAlchemyError):
    """Raised for a new connection that leads to the database of another pool."""


class PoolIdentity:
    """Compares the database that is there now with the one that was opened.

    :param file: the file of an SQLite database; None with PostgreSQL, where each new connection is compared,
        so that nothing is written to another pool
    """

    def __init__(self, engine: sa.Engine, file: Path | None) -> None:
        self._engine, self._file, self._name = engine, file, ""
        self._opened = file_identity(file) if file else None
        if file is None:
            sa.event.listen(engine, "connect", self._check_new)

    def read(self) -> str:
        """Return the name in the database."""
        with self._engine.connect().execution_options(reads=True) as connection:
            return str(connection.scalar(sa.select(schema.identity.c.pool)))

    def remember(self) -> None:
        """Take the database that is there now for the pool's own."""
        self._name = self.read()
        self._opened = file_identity(self._file) if self._file else None

    def is_in_place(self) -> bool:
        """Return False if the file has gone or another has taken its name; always True with PostgreSQL."""
        return self._file is None or file_identity(self._file) == self._opened

    def is_replaced(self) -> bool | None:
        """Return whether another pool's database, or none, is there; None when it cannot be reached."""
        try:
            return (self._read_file() if self._file else self.read()) != self._name
        except ReplacedError:
            return True
        except (sa.exc.SQLAlchemyError, sqlite3.DatabaseError) as error:
            return True if _is_absent(error) else None

    def _read_file(self) -> str:
        """Read the file's name by a connection of its own, which has none of the former file's pages."""
        assert self._file is not None
        with closing(sqlite3.connect(f"{self._file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return str(connection.execute(_QUERY).fetchone()[0])

    def _check_new(self, connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        if not self._name:
            return
        try:
            with closing(connection.cursor()) as cursor:
                cursor.execute(_QUERY)
                row = cursor.fetchone()
            connection.rollback()
            if row is None or row[0] != self._name:
                raise ReplacedError("it is the database of another pool")
        except BaseException:
            connection.close()
            raise


def loss_text(database: object) -> str:
    """Say what to do about a database that has gone or was replaced."""
    return f"the pool's database {database} was removed or replaced while the server runs. {_REMEDY}"


def _is_absent(error: Exception) -> bool:
    """Return whether an error says that there is no such database, or no pool in it."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.OperationalError):  # also raised while it is busy
        return "no such table" in str(cause)
    if isinstance(cause, sqlite3.DatabaseError):  # the file is none of SQLite
        return True
    fields = cause.args[0] if cause.args and isinstance(cause.args[0], dict) else {}  # of pg8000
    return (fields.get("C") or getattr(cause, "sqlstate", None)) in _ABSENT
