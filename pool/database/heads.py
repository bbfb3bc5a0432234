"""Instant heads: small models fitted after each label, with what they were fitted to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry
from pool.database.scores import delete_scores

KEPT = 3  # newest heads, with their scores


def source_name(fingerprint: str) -> str:
    """Return the name that the scores of a head are stored under."""
    return f"instant|{fingerprint}"


@dataclass(frozen=True)
class Head:
    """A fitted head.

    :param number: rises with each head of the pool
    :param features: key of the dense features it was fitted on
    :param fingerprint: of the labels it knows; two heads of a pool never share one
    :param n_labels: number of labels it knows
    :param blob: the fitted head, some 100 KB
    :param facts: `labels` per structure, cross-validated `dice`, `seed` and `seconds`
    :param created: when it was fitted, as from `time.time`
    """

    number: int
    features: str
    fingerprint: str
    n_labels: int
    blob: bytes
    facts: dict[str, Any]
    created: float

    @property
    def source(self) -> str:
        """Name that its scores are stored under."""
        return source_name(self.fingerprint)


class Heads:
    """The newest heads; older ones are deleted with their scores."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.get = lru_cache(maxsize=KEPT)(self._read)  # a head never changes once written

    def newest(self, features: str | None = None) -> Head | None:
        """Return the newest head, or None.

        :param features: only one fitted on these
        """
        table = schema.heads.c
        query = sa.select(sa.func.max(table.number))
        rows = self._db.read(query if features is None else query.where(table.features == features))
        return self.get(rows[0][0]) if rows[0][0] is not None else None

    def newest_blob(self) -> bytes | None:
        """Return the newest head's `blob`, or None."""
        head = self.newest()
        return head.blob if head else None

    def sources(self) -> list[str]:
        """Return the names that the scores of all kept heads are stored under, newest first."""
        table = schema.heads.c
        rows = self._db.read(sa.select(table.fingerprint).order_by(table.number.desc()))
        return [source_name(row.fingerprint) for row in rows]

    def clear(self) -> None:
        """Delete all heads with their scores, since no label is left."""
        sources = self.sources()
        self._db.write(sa.delete(schema.heads))
        delete_scores(self._db, sources)

    def _read(self, number: int) -> Head:
        row = self._db.read(sa.select(schema.heads).where(schema.heads.c.number == number))
        if not row:
            raise KeyError(f"head {number} is not kept any more")
        return Head(**row[0]._mapping)

    def add(
        self, features: str, fingerprint: str, n_labels: int, blob: bytes, facts: Mapping[str, Any]
    ) -> Head:
        """Store a head, also in the ledger without its `blob`; delete those that are no longer kept.

        One with the same fingerprint is replaced, and its scores are deleted. Arguments as in `Head`.
        """
        table = schema.heads
        known = {"features": features, "fingerprint": fingerprint, "n_labels": n_labels, "facts": dict(facts)}
        with self._db.begin() as connection:
            newest = sa.select(table.c.number, table.c.fingerprint).order_by(table.c.number.desc())
            kept = [row for row in connection.execute(newest) if row.fingerprint != fingerprint][: KEPT - 1]
            others = table.c.number.not_in([row.number for row in kept])
            gone = connection.scalars(sa.select(table.c.fingerprint).where(others)).all()
            connection.execute(sa.delete(table).where(others))
            inserted = connection.execute(sa.insert(table).values(blob=blob, created=time.time(), **known))
            assert inserted.inserted_primary_key is not None
            number = int(inserted.inserted_primary_key[0])
            connection.execute(entry("head", None, {"number": number, **known}))
        delete_scores(self._db, [source_name(former) for former in gone])
        return self.get(number)
