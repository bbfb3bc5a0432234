"""Browsers that open the pages, each known by a random cookie, and the name that its person gave once."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database

_TAG = 4  # hexadecimal digits of a browser's tag, more where two would have the same
_MAX_UNNAMED = 10_000  # browsers without a name; the oldest are forgotten


@dataclass(frozen=True)
class Reader:
    """The person at one browser. `name` is empty until it is given."""

    tag: str
    name: str

    @property
    def shown(self) -> str:
        """The name, else "browser 3f2a"."""
        return self.name or f"browser {self.tag}"


class Readers:
    """The readers of one pool. Only hashes of cookies are kept."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of(self, token: str) -> Reader:
        """Return the reader whose browser sends a cookie; a cookie seen for the first time is a new one."""
        return self._find(_hash(token)) or self._add(token, "")

    def rename(self, token: str, name: str) -> Reader:
        """Give the reader of a cookie a name."""
        reader = self.of(token)
        table, key = schema.readers, _hash(token)
        self._db.write(sa.update(table).where(table.c.token == key).values(name=name))
        return Reader(reader.tag, name)

    def _find(self, key: str) -> Reader | None:
        table = schema.readers.c
        rows = self._db.read(sa.select(table.tag, table.name).where(table.token == key))
        return Reader(rows[0].tag, rows[0].name) if rows else None

    def _add(self, token: str, name: str) -> Reader:
        table, key = schema.readers, _hash(token)
        unnamed = sa.select(table.c.token).where(table.c.name == "").order_by(table.c.created.desc())
        with self._db.begin() as connection:
            row = connection.execute(sa.select(table).where(table.c.token == key)).first()
            if row is not None:  # another request of the same browser was faster
                return Reader(row.tag, row.name)
            taken = set(connection.scalars(sa.select(table.c.tag).where(table.c.tag.startswith(key[:_TAG]))))
            tag = next(key[:n] for n in range(_TAG, len(key) + 1) if key[:n] not in taken)
            connection.execute(sa.insert(table).values(token=key, tag=tag, name=name, created=time.time()))
            for old in list(connection.scalars(unnamed.offset(_MAX_UNNAMED))):
                connection.execute(sa.delete(table).where(table.c.token == old))
        return Reader(tag, name)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
