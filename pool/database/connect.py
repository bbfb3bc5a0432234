"""Opening a pool's database: SQLite in the state folder, or PostgreSQL by URL."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa


def _begin(connection: sa.Connection) -> None:
    """Writers take the lock at once, so that what they read stays true; readers never wait."""
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _finite(value: Any) -> Any:
    """The same value with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _to_json(value: Any) -> str:
    return json.dumps(_finite(value), allow_nan=False)


def connect(file: Path, url: str = "") -> sa.Engine:
    """An engine on the pool's SQLite file, or on PostgreSQL when there is a URL.

    Option `reads=True` marks a transaction that only reads. Raises ValueError for another kind of database.
    """
    return _postgresql(url) if url else _sqlite(file)


def postgresql_url(text: str) -> sa.URL:
    """A checked URL with driver and password: pg8000 unless it names another driver; a password that it
    leaves out comes from PGPASSWORD, as for PostgreSQL's own programs.

    Raises ValueError, whose text has no password.
    """
    form = "postgresql://user@host/database"
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ValueError(f"this is no database URL; its form is {form}") from None
    if url.get_backend_name() != "postgresql" or not url.database:
        raise ValueError(f"{url.render_as_string()} is no PostgreSQL database; a URL has the form {form}")
    if "password" in url.query:
        raise ValueError(f"the password stands before the @ of a database URL, or in PGPASSWORD; {form}")
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+pg8000")
    return url if url.password else url.set(password=os.environ.get("PGPASSWORD"))


def _postgresql(text: str) -> sa.Engine:
    """Connections that broke are made anew. A server that hangs or lost its network blocks no other for long:
    waiting for a lock and an idle open transaction both end after a while, with an error."""
    url = postgresql_url(text)
    slow = {"timeout": 40} if url.get_driver_name() == "pg8000" else {"connect_timeout": 10}  # seconds
    engine = sa.create_engine(
        url, pool_pre_ping=True, connect_args=slow, hide_parameters=True, json_serializer=_to_json
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SET lock_timeout = '30s'")
        cursor.execute("SET idle_in_transaction_session_timeout = '60s'")
        cursor.close()
        connection.commit()

    return engine


def _sqlite(file: Path) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{file}", connect_args={"timeout": 30}, json_serializer=_to_json)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy, not sqlite3, begins transactions
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    sa.event.listen(engine, "begin", _begin)
    return engine
