"""What a lead decided while the server runs: which images come next or are never trained on, and alpha."""

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
        """All marks, in the order in which they were set."""
        table = schema.marks
        rows = self._db.read(sa.select(table).order_by(table.c.id))
        return [Mark(row.image, row.kind, row.client, row.reason) for row in rows]

    def held_out(self) -> frozenset[str]:
        """Images that are labelled but never trained on."""
        table = schema.marks
        rows = self._db.read(sa.select(table.c.image).where(table.c.kind == HELD_OUT))
        return frozenset(row.image for row in rows)

    def put(self, kind: str, images: Sequence[str], client: str, reason: str = "") -> None:
        """Mark images, in this order; a mark takes the place of an earlier one."""
        if not images:
            return
        facts = {"kind": kind, "client": client, "reason": reason}
        rows = [{"image": image, "created": time.time(), **facts} for image in images]
        with self._db.begin() as connection:
            _delete(connection, images)
            connection.execute(sa.insert(schema.marks), rows)
            connection.execute(*entries("mark", images, facts))

    def remove(self, images: Sequence[str], client: str) -> int:
        """Take marks back; the number of images that had one."""
        with self._db.begin() as connection:
            marked = set(connection.scalars(sa.select(schema.marks.c.image)))
            found = [image for image in images if image in marked]
            if found:
                _delete(connection, found)
                connection.execute(*entries("unmark", found, {"client": client}))
        return len(found)

    def chosen_alpha(self) -> float | None:
        """What a lead chose instead of the setting; None when nothing was chosen."""
        rows = self._db.read(sa.select(schema.choices.c.value).where(schema.choices.c.name == "alpha"))
        return float(rows[0].value) if rows else None

    def choose_alpha(self, alpha: float | None, client: str) -> None:
        """Weigh diversity so from now on; None goes back to the setting."""
        table = schema.choices
        with self._db.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.name == "alpha"))
            if alpha is not None:
                row = {"name": "alpha", "value": alpha, "client": client, "created": time.time()}
                connection.execute(sa.insert(table).values(row))
            connection.execute(entry("alpha", None, {"alpha": alpha, "client": client}))


def _delete(connection: sa.Connection, images: Sequence[str]) -> None:
    gone = sa.delete(schema.marks).where(schema.marks.c.image == sa.bindparam("gone"))
    connection.execute(gone, [{"gone": image} for image in images])
