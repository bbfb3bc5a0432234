"""Opening a pool's database: SQLite in the state folder, or PostgreSQL by URL."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa


def _begin_transaction(connection: sa.Connection) -> None:
    """Begin a transaction: writers lock at once, so that what they read stays valid; readers never wait.

    A durable one is on the disk when it ends, whatever happens to the machine's power; others may then lose
    the last moments.
    """
    options = connection.get_execution_options()
    if options.get("reads"):
        connection.exec_driver_sql("BEGIN")
        return
    durable = bool(options.get("durable"))
    if connection.info.get("durable") != durable:
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.info["durable"] = durable
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _without_nan(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, with None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _to_json(value: Any) -> str:
    return json.dumps(_without_nan(value), allow_nan=False)


def connect(file: Path, url: str = "") -> sa.Engine:
    """Create an engine for the pool's SQLite file, or for PostgreSQL when a URL is given.

    The option `reads=True` marks a read-only transaction, `durable=True` one that must survive a power cut.
    Raises ValueError for another kind of database.
    """
    return _postgresql_engine(url) if url else _sqlite_engine(file)


def postgresql_url(text: str) -> sa.URL:
    """Check a database URL, and add the driver and password it lacks.

    The default driver is pg8000; a missing password is taken from PGPASSWORD, as PostgreSQL's own programs
    do. Raises ValueError, whose text never contains the password.
    """
    form = "postgresql://user@host/database"
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ValueError(f"this is not a database URL; write {form}") from None
    if url.get_backend_name() != "postgresql" or not url.database:
        raise ValueError(f"{url.render_as_string()} is not a PostgreSQL database; write {form}")
    if "password" in url.query:
        raise ValueError(f"put the password before the @ of the database URL, or in PGPASSWORD; write {form}")
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+pg8000")
    return url if url.password else url.set(password=os.environ.get("PGPASSWORD"))


def _postgresql_engine(text: str) -> sa.Engine:
    """Create a PostgreSQL engine that replaces broken connections.

    A server that hangs or loses its network cannot block the others for long: lock waits and idle
    transactions time out with an error.
    """
    url = postgresql_url(text)
    is_pg8000 = url.get_driver_name() == "pg8000"
    timeouts = {"timeout": 40} if is_pg8000 else {"connect_timeout": 10}  # seconds
    engine = sa.create_engine(
        url, pool_pre_ping=True, connect_args=timeouts, hide_parameters=True, json_serializer=_to_json
    )
    if is_pg8000:
        sa.event.listen(engine, "do_connect", _connect_pg8000)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SET lock_timeout = '30s'")
        cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
        cursor.close()
        connection.commit()

    return engine


def _connect_pg8000(
    dialect: sa.Dialect, record: object, arguments: Sequence[Any], options: Mapping[str, Any]
) -> Any:
    """Open a connection whose every failure is a database error: pg8000 1.31 lets some OSErrors through.

    These are of a reset while it connects, or before the first byte of an answer.
    """
    import pg8000  # most pools have no PostgreSQL

    @contextmanager
    def network_errors() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise pg8000.InterfaceError("network error") from error  # SQLAlchemy knows these words

    class Connection(pg8000.Connection):
        def handle_messages(self, context: Any) -> None:
            with network_errors():
                super().handle_messages(context)

    with network_errors():
        return Connection(*arguments, **options)


def _sqlite_engine(file: Path) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{file}", connect_args={"timeout": 30}, json_serializer=_to_json)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy, not sqlite3, begins transactions
        connection.execute("PRAGMA journal_mode=WAL")

    sa.event.listen(engine, "begin", _begin_transaction)
    return engine
