"""One pool's database: reading, writing, the ledger's entries, and locks."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout

from pool.database import schema
from pool.database.connect import connect

_LOOK = 0.1  # seconds between two tries to get a lock of PostgreSQL


class Busy(RuntimeError):
    """Somebody else holds the lock."""


class Database:
    """`pool.db` in the pool's state folder, or a PostgreSQL database. Each method is one transaction, safe
    between processes, and with PostgreSQL between servers.

    :param migrate: create or upgrade the tables; the server does, its children find them ready
    :param url: of a PostgreSQL database, which is this pool's alone
    """

    def __init__(self, folder: Path, migrate: bool = False, url: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._shared = folder, bool(url)
        self.engine = connect(folder / "pool.db", url)
        if migrate:
            with self.exclusive("migration", timeout=600):  # servers that start together
                schema.migrate(self.engine)

    def __str__(self) -> str:
        """Where it is, for people: never with a password."""
        return self.engine.url.render_as_string() if self._shared else str(self._folder / "pool.db")

    def trouble(self, error: Exception) -> str:
        """What to tell people when the database failed, and what to do."""
        do = "is it running and reachable? Start it" if self._shared else "is its disk full? Make room"
        return f"the pool's database {self} cannot be used ({reason_of(error)}); {do}, then ask again"

    def read(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a query; never waits for a writer."""
        with self.engine.connect().execution_options(reads=True) as connection:
            return connection.execute(query).all()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction that writes, one at a time over all processes and servers.

        SQLite has it so. On PostgreSQL the clock's row is locked before anything is read, so that what
        is read stays true, nothing deadlocks, and the ledger's order is that of the commits.
        """
        with self.engine.begin() as connection:
            connection.execute(sa.select(schema.clock.c.id).with_for_update())
            yield connection

    def write(self, *statements: sa.Executable) -> None:
        """All statements, or none of them."""
        with self.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def exclusive(self, name: str, timeout: float = 0.0, shared: bool = False) -> Iterator[None]:
        """Held by one process of the pool at a time, on all servers; free again when the process dies.

        A file lock in the state folder, or an advisory lock of PostgreSQL.

        :param timeout: seconds to wait for it
        :param shared: with PostgreSQL, several may hold it so together, but not beside one who holds it alone

        Raises Busy.
        """
        if self._shared:
            with self._advisory(zlib.crc32(name.encode()), name, timeout, "_shared" if shared else ""):
                yield
            return
        lock = FileLock(self._folder / f"{name}.lock")
        try:
            held = lock.acquire(timeout=timeout)
        except Timeout:
            raise Busy(f"another process holds {lock.lock_file}") from None
        with held:
            yield

    @contextmanager
    def _advisory(self, key: int, name: str, timeout: float, kind: str) -> Iterator[None]:
        end = time.monotonic() + timeout
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.scalar(sa.text(f"SELECT pg_try_advisory_lock{kind}(:key)"), {"key": key}):
                if time.monotonic() >= end:
                    raise Busy(f"another server or process holds {name!r} of {self}")
                time.sleep(_LOOK)
            try:
                yield
            finally:
                with suppress(sa.exc.DBAPIError):  # the connection broke: its end freed the lock
                    connection.execute(sa.text(f"SELECT pg_advisory_unlock{kind}(:key)"), {"key": key})


def reason_of(error: Exception) -> str:
    """The driver's own words in one line, without statement, parameters or address of a manual."""
    cause = getattr(error, "orig", None) or error
    said = cause.args[0] if cause.args else cause
    if isinstance(said, dict):  # pg8000: all fields of PostgreSQL's answer
        said = said.get("M", said)
    return str(said).partition("\n")[0]


def entry(event: str, image: str | None, details: Mapping[str, Any]) -> sa.Insert:
    """A line of the append-only ledger, to be written with what it tells of."""
    return sa.insert(schema.ledger).values(
        created=time.time(), event=event, image=image, details=dict(details)
    )


def entries(
    event: str, images: Sequence[str], details: Mapping[str, Any]
) -> tuple[sa.Insert, list[dict[str, Any]]]:
    """A line of the ledger for each of many images: the statement, and its rows (at least one)."""
    same = {"created": time.time(), "event": event, "details": dict(details)}
    return sa.insert(schema.ledger), [{"image": image, **same} for image in images]
