"""One pool's database: reads, writes, locks and ledger entries."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout

from pool.database import migration, schema
from pool.database.connect import connect
from pool.database.identity import PoolIdentity, ReplacedError, loss_text
from pool.database.server_lock import Busy, ServerLock
from pool.database.sqlite_file import check_pages, fold_journal

_LOCK_RETRY = 0.1  # seconds between two attempts to get a PostgreSQL lock


class Database:
    """`pool.db` in the pool's state folder, or a PostgreSQL database.

    Each method is one transaction, safe across processes, and with PostgreSQL across servers.

    :param migrate: create or upgrade the tables; only the server does, not its child processes
    :param url: URL of a PostgreSQL database that belongs to this pool alone

    Raises DamagedError, with `migrate`.
    """

    def __init__(self, folder: Path, migrate: bool = False, url: str = "") -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._shared, self._file = folder, bool(url), folder / "pool.db"
        self.engine = connect(self._file, url)
        self.identity = PoolIdentity(self.engine, None if url else self._file)
        self._replaced = False
        if migrate:
            with self.exclusive("migration", timeout=600):  # for servers that start at the same time
                if not self._shared:
                    self._file.touch()
                    self._file.chmod(0o600)  # and with it that of its journal
                    check_pages(self._file)
                migration.back_up_before_migration(self.engine, folder)
                migration.migrate(self.engine)
            self.identity.remember()
        self._serving: ServerLock | None = None  # of a server with PostgreSQL

    def __str__(self) -> str:
        """Return the database's location for messages, never with the password."""
        return self.engine.url.render_as_string() if self._shared else str(self._file)

    def trouble(self, error: Exception) -> str:
        """Return a message that the database failed, and what to do about it."""
        if isinstance(error, ReplacedError):
            return loss_text(self)
        remedy = "is it running and reachable? Start it" if self._shared else "is its disk full? Make room"
        return f"the pool's database {self} cannot be used ({reason_of(error)}); {remedy}, then ask again"

    def loss(self) -> str:
        """Say why this server must not use the database any more; "" while it may.

        It has gone, that of another pool has taken its place, or another server that of this one.
        """
        if self._replaced or not self.identity.is_in_place():
            return loss_text(self)
        return self._serving.loss if self._serving else ""

    def serve(self, timeout: float, shared: bool) -> ServerLock:
        """Hold the lock of a server for life, with PostgreSQL. Raises Busy.

        :param timeout: seconds to wait for it
        :param shared: let other servers work on this pool, too
        """
        self._serving = ServerLock(lambda seconds: self.exclusive("server", seconds, shared), timeout)
        return self._serving

    def watch(self) -> None:
        """Look if the database is still this pool's; call it every second in a server.

        Holds the lock of a server again after PostgreSQL was restarted.
        """
        if (replaced := self.identity.is_replaced()) is not None:
            self._replaced = replaced
        if self._serving and not self._replaced:
            self._serving.watch()

    def fold(self) -> None:
        """Put everything into the database's own file, on the disk; nothing stays in its write-ahead log."""
        if not self._shared and not self.loss():
            fold_journal(self.engine, self._file)

    def read(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """Return all rows of a query, without waiting for writers."""
        with self.engine.connect().execution_options(reads=True) as connection:
            return connection.execute(query).all()

    @contextmanager
    def begin(self, durable: bool = False) -> Iterator[sa.Connection]:
        """Begin a write transaction; only one runs at a time across all processes and servers.

        :param durable: survive a power cut, too: for what people did, and nobody can compute again

        SQLite guarantees this itself. On PostgreSQL the clock's row is locked before anything is read, so
        that reads stay valid, nothing deadlocks, and the ledger is in commit order.
        """
        with self.engine.execution_options(durable=durable).begin() as connection:
            connection.execute(sa.select(schema.clock.c.id).with_for_update())
            yield connection

    def write(self, *statements: sa.Executable) -> None:
        """Execute all statements in one transaction."""
        with self.begin() as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def exclusive(
        self, name: str, timeout: float = 0.0, shared: bool = False
    ) -> Iterator[sa.Connection | None]:
        """Hold a named lock that one process of the pool has at a time, across all servers.

        It is a file lock in the state folder, or PostgreSQL's advisory lock, freed when the process dies.
        Yields the connection that holds the latter.

        :param timeout: seconds to wait for the lock
        :param shared: with PostgreSQL, let several holders share it, though not with an exclusive one

        Raises Busy.
        """
        if self._shared:
            with self._advisory(
                zlib.crc32(name.encode()), name, timeout, "_shared" if shared else ""
            ) as connection:
                yield connection
            return
        lock = FileLock(self._folder / f"{name}.lock")
        try:
            acquired = lock.acquire(timeout=timeout)
        except Timeout:
            raise Busy(f"another process holds {lock.lock_file}") from None
        with acquired:
            yield None

    @contextmanager
    def _advisory(self, key: int, name: str, timeout: float, kind: str) -> Iterator[sa.Connection]:
        deadline = time.monotonic() + timeout
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.scalar(sa.text(f"SELECT pg_try_advisory_lock{kind}(:key)"), {"key": key}):
                if time.monotonic() >= deadline:
                    raise Busy(f"another server or process holds {name!r} of {self}")
                time.sleep(_LOCK_RETRY)
            try:
                yield connection
            finally:
                with suppress(sa.exc.SQLAlchemyError):  # the connection broke, which freed the lock
                    connection.execute(sa.text(f"SELECT pg_advisory_unlock{kind}(:key)"), {"key": key})


def reason_of(error: Exception) -> str:
    """Return the driver's message in one line, without statement, parameters or link to a manual."""
    cause = getattr(error, "orig", None) or error
    message = cause.args[0] if cause.args else cause
    if isinstance(message, dict):  # pg8000: the fields of PostgreSQL's answer
        message = message.get("M", message)
    return str(message).partition("\n")[0]


def entry(event: str, image: str | None, details: Mapping[str, Any]) -> sa.Insert:
    """Make a ledger entry, to be written in the same transaction as the change it records."""
    return sa.insert(schema.ledger).values(
        created=time.time(), event=event, image=image, details=dict(details)
    )


def entries(
    event: str, images: Sequence[str], details: Mapping[str, Any]
) -> tuple[sa.Insert, list[dict[str, Any]]]:
    """Make one ledger entry per image: the insert statement and its rows (at least one)."""
    common = {"created": time.time(), "event": event, "details": dict(details)}
    return sa.insert(schema.ledger), [{"image": image, **common} for image in images]
