"""Labelled images that are handed out once more, with their label, until it is saved again."""

from __future__ import annotations

import time
from collections.abc import Sequence

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entries
from pool.database.marks import Mark

REOPENED = "reopened"


class Reopened:
    """The reopened images of one pool; each reopening is in the ledger."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> list[Mark]:
        """Return them in the order in which they were reopened."""
        table = schema.reopened
        rows = self._db.read(sa.select(table).order_by(table.c.created, table.c.image))
        return [Mark(row.image, REOPENED, row.client, row.reason) for row in rows]

    def put(self, images: Sequence[str], client: str, reason: str = "") -> None:
        """Reopen images, in this order; one that is open already goes to the end."""
        facts = {"client": client, "reason": reason}
        rows = [{"image": image, "created": time.time(), **facts} for image in images]
        with self._db.begin(durable=True) as connection:
            _delete(connection, images)
            connection.execute(sa.insert(schema.reopened), rows)
            connection.execute(*entries("reopen", images, facts))

    def close(self, images: Sequence[str], client: str = "") -> list[str]:
        """Let images be finished again, and return those that were reopened.

        :param client: who takes the reopening back; "" when a label ends it, which the ledger has anyway
        """
        present = {mark.image for mark in self.all()}
        if closed := [image for image in images if image in present]:
            with self._db.begin(durable=True) as connection:
                _delete(connection, closed)
                if client:
                    connection.execute(*entries("unmark", closed, {"client": client, "kind": REOPENED}))
        return closed


def _delete(connection: sa.Connection, images: Sequence[str]) -> None:
    delete = sa.delete(schema.reopened).where(schema.reopened.c.image == sa.bindparam("closed"))
    connection.execute(delete, [{"closed": image} for image in images])
