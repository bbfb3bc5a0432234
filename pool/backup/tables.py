"""Copying all rows of a pool's database between SQLite and PostgreSQL, in any direction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from pool.database import schema

_BATCH_ROWS = 500  # rows in memory at once


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a connection that sees the database as it is now, whatever is written meanwhile; blocks nobody."""
    postgres = engine.dialect.name == "postgresql"
    options = {"isolation_level": "REPEATABLE READ"} if postgres else {"reads": True}
    with engine.connect().execution_options(**options) as connection:
        yield connection


def copy_tables(source: sa.Connection, target: sa.Connection) -> dict[str, int]:
    """Replace all rows of `target`, which has the same tables; return the number of rows per table."""
    counts: dict[str, int] = {}
    for table in schema.metadata.sorted_tables:
        target.execute(sa.delete(table))
        query = sa.select(table).order_by(*table.primary_key)
        rows = source.execute(query, execution_options={"yield_per": _BATCH_ROWS})
        counts[table.name] = 0
        for part in rows.partitions():
            target.execute(sa.insert(table), [dict(row._mapping) for row in part])
            counts[table.name] += len(part)
        _advance_sequence(target, table)
    return counts


def _advance_sequence(connection: sa.Connection, table: sa.Table) -> None:
    """Advance a PostgreSQL table's id sequence past the copied rows, which did not advance it."""
    column = table.autoincrement_column
    if column is None or connection.dialect.name != "postgresql":
        return
    sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
    next_number = sa.select(sa.func.coalesce(sa.func.max(column), 0) + 1).scalar_subquery()
    connection.execute(sa.select(sa.func.setval(sequence, next_number, False)))
