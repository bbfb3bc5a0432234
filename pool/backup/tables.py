"""All rows of a pool's database, from SQLite or PostgreSQL to either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from pool.database import schema

_AT_ONCE = 500  # rows in memory


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection that sees the database as it is now, whatever others write meanwhile; blocks nobody."""
    postgres = engine.dialect.name == "postgresql"
    options = {"isolation_level": "REPEATABLE READ"} if postgres else {"reads": True}
    with engine.connect().execution_options(**options) as connection:
        yield connection


def copy_tables(source: sa.Connection, target: sa.Connection) -> dict[str, int]:
    """Replace all rows of `target`, which has the same tables; returns the number of rows of each."""
    counts: dict[str, int] = {}
    for table in schema.metadata.sorted_tables:
        target.execute(sa.delete(table))
        query = sa.select(table).order_by(*table.primary_key)
        rows = source.execute(query, execution_options={"yield_per": _AT_ONCE})
        counts[table.name] = 0
        for part in rows.partitions():
            target.execute(sa.insert(table), [dict(row._mapping) for row in part])
            counts[table.name] += len(part)
        _continue_numbers(target, table)
    return counts


def _continue_numbers(connection: sa.Connection, table: sa.Table) -> None:
    """PostgreSQL numbers new rows by a sequence, which knows nothing of numbers that were copied."""
    column = table.autoincrement_column
    if column is None or connection.dialect.name != "postgresql":
        return
    sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
    following = sa.select(sa.func.coalesce(sa.func.max(column), 0) + 1).scalar_subquery()
    connection.execute(sa.select(sa.func.setval(sequence, following, False)))
