"""One pool's database: reading, writing, and the ledger's entries."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pool import schema


class Database:
    """`pool.db` in the pool's state folder. Each method is one transaction, safe between processes.

    :param migrate: create or upgrade the tables; the server does, its children find them ready
    """

    def __init__(self, folder: Path, migrate: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.engine = schema.connect(folder / "pool.db")
        if migrate:
            schema.migrate(self.engine)

    def read(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a query; never waits for a writer."""
        with self.engine.connect().execution_options(reads=True) as connection:
            return connection.execute(query).all()

    def write(self, *statements: sa.Executable) -> None:
        """All statements, or none of them."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(statement)


def entry(event: str, image: str | None, details: Mapping[str, Any]) -> sa.Insert:
    """A line of the append-only ledger, to be written with what it tells of."""
    return sa.insert(schema.ledger).values(
        created=time.time(), event=event, image=image, details=dict(details)
    )
