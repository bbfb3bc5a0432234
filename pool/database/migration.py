"""Migration of a pool's database to this version's tables, with a copy of the former ones."""

from __future__ import annotations

import logging
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pool.database import schema
from pool.files import move_into_place, sync_file

if TYPE_CHECKING:
    from alembic.config import Config

logger = logging.getLogger(__name__)
_MIGRATIONS = Path(__file__).parent / "migrations"
_BATCH_ROWS = 500  # rows in memory at once


def _alembic_config() -> Config:
    from alembic.config import Config  # slow to import; child processes do not migrate

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _config_with_engine(engine: sa.Engine) -> Config:
    config = _alembic_config()
    config.attributes["engine"] = engine
    return config


def newest_revision() -> str:
    """Return the schema revision of this version, by which the newest migration's file is named."""
    return max(file.name.partition("_")[0] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def revision(connection: sa.Connection) -> str | None:
    """Return the schema revision of a database, or None when it is not a pool's."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))


def back_up_before_migration(engine: sa.Engine, folder: Path) -> Path | None:
    """Copy an older database, from either kind, to an SQLite file in `folder`; None when it is not older.

    The file is `pool.db.before-<new revision>`; one that is there already is kept, since a migration that was
    killed has changed the database it was made of.
    """
    with engine.connect().execution_options(reads=True) as connection:  # SQLite copies from no writer
        former = revision(connection)
        target = folder / f"pool.db.before-{newest_revision()}"
        if former in (None, newest_revision()) or target.exists():
            return None
        part = folder / f".{uuid.uuid4().hex}.tmp-{target.name}"
        try:
            _copy_as_it_is(connection, part)
            sync_file(part)
            move_into_place(part, target)
        finally:
            part.unlink(missing_ok=True)
    logger.warning(
        "The pool's database is migrated from revision %s to %s. Its former tables are kept in %s: to go "
        "back to the former version, stop the server and use this file as pool.db (docs/how-to/backup.md)",
        former,
        newest_revision(),
        target,
    )
    return target


def _copy_as_it_is(source: sa.Connection, file: Path) -> None:
    """Copy a database, whatever its revision, to a new SQLite file: SQLite's exactly, PostgreSQL's rows."""
    if source.dialect.name == "sqlite":
        with closing(sqlite3.connect(file)) as target:
            source.connection.driver_connection.backup(target)  # type: ignore[union-attr]
        return
    tables = sa.MetaData()
    tables.reflect(source)
    for table in tables.tables.values():
        table.indexes.clear()  # conditions of PostgreSQL's are lost in SQLite, which would refuse rows
        for column in table.columns:
            column.type, column.server_default = column.type.as_generic(), None
    engine = sa.create_engine(f"sqlite:///{file}")
    try:
        with engine.begin() as connection:
            tables.create_all(connection)
            for table in tables.sorted_tables:
                rows = source.execute(sa.select(table), execution_options={"yield_per": _BATCH_ROWS})
                for part in rows.partitions():
                    connection.execute(sa.insert(table), [dict(row._mapping) for row in part])
    finally:
        engine.dispose()


def migrate(engine: sa.Engine) -> None:
    """Create the tables of a new database, or upgrade an older one to the newest revision."""
    with engine.connect().execution_options(reads=True) as connection:
        is_current = revision(connection) == newest_revision()
    if not is_current:
        _upgrade(engine)
    with engine.begin() as connection:
        if connection.scalar(sa.select(sa.func.count()).select_from(schema.clock)) == 0:
            connection.execute(sa.insert(schema.clock).values(id=1, now=0.0))
        if connection.scalar(sa.select(sa.func.count()).select_from(schema.identity)) == 0:
            connection.execute(sa.insert(schema.identity).values(id=1, pool=uuid.uuid4().hex))


def _upgrade(engine: sa.Engine) -> None:
    from alembic.command import stamp, upgrade  # slow to import; most starts find nothing to do

    inspector = sa.inspect(engine)
    if not inspector.has_table("alembic_version"):  # new, or its first server was killed before the stamp
        is_first_revision = inspector.has_table("ledger") and not inspector.has_table("skips")
        if not is_first_revision:
            schema.metadata.create_all(engine)
        stamp(_config_with_engine(engine), "0001" if is_first_revision else "head")
    upgrade(_config_with_engine(engine), "head")
