"""Decisions of a lead while the server runs: images that come next or are held out, and alpha."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entries, entry

NEXT, HELD_OUT = "next", "held_out"


@dataclass(frozen=True)
class Mark:
    """One image's mark: its kind, who set it, and why."""

    image: str
    kind: str
    client: str
    reason: str


class Marks:
    """Marks of one pool, at most one per image; every change is in the ledger."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> list[Mark]:
        """Return all marks, in the order in which they were set."""
        table = schema.marks
        rows = self._db.read(sa.select(table).order_by(table.c.id))
        return [Mark(row.image, row.kind, row.client, row.reason) for row in rows]

    def held_out(self) -> frozenset[str]:
        """Return the held-out images: labelled, but never trained on."""
        table = schema.marks
        rows = self._db.read(sa.select(table.c.image).where(table.c.kind == HELD_OUT))
        return frozenset(row.image for row in rows)

    def put(self, kind: str, images: Sequence[str], client: str, reason: str = "") -> None:
        """Mark images, in this order; a mark replaces an earlier one."""
        if not images:
            return
        facts = {"kind": kind, "client": client, "reason": reason}
        rows = [{"image": image, "created": time.time(), **facts} for image in images]
        with self._db.begin() as connection:
            _delete(connection, images)
            connection.execute(sa.insert(schema.marks), rows)
            connection.execute(*entries("mark", images, facts))

    def remove(self, images: Sequence[str], client: str) -> int:
        """Remove marks, and return the number of images that had one."""
        with self._db.begin() as connection:
            marked = set(connection.scalars(sa.select(schema.marks.c.image)))
            to_remove = [image for image in images if image in marked]
            if to_remove:
                _delete(connection, to_remove)
                connection.execute(*entries("unmark", to_remove, {"client": client}))
        return len(to_remove)

    def chosen_alpha(self) -> float | None:
        """Return the alpha that a lead chose, or None when the setting applies."""
        rows = self._db.read(sa.select(schema.choices.c.value).where(schema.choices.c.name == "alpha"))
        return float(rows[0].value) if rows else None

    def choose_alpha(self, alpha: float | None, client: str) -> None:
        """Set the weight of diversity from now on; None restores the setting."""
        table = schema.choices
        with self._db.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.name == "alpha"))
            if alpha is not None:
                row = {"name": "alpha", "value": alpha, "client": client, "created": time.time()}
                connection.execute(sa.insert(table).values(row))
            connection.execute(entry("alpha", None, {"alpha": alpha, "client": client}))


def _delete(connection: sa.Connection, images: Sequence[str]) -> None:
    delete = sa.delete(schema.marks).where(schema.marks.c.image == sa.bindparam("removed"))
    connection.execute(delete, [{"removed": image} for image in images])
