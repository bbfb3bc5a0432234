"""What a lead decided while the server runs: which images come next or are never trained on, and alpha."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from pool import schema
from pool.database import Database, entry

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
        table, now = schema.marks, time.time()
        with self._db.begin() as connection:
            for image in images:
                connection.execute(sa.delete(table).where(table.c.image == image))
                row = {"image": image, "kind": kind, "client": client, "reason": reason, "created": now}
                connection.execute(sa.insert(table).values(row))
                connection.execute(entry("mark", image, {"kind": kind, "client": client, "reason": reason}))

    def remove(self, images: Sequence[str], client: str) -> int:
        """Take marks back; the number of images that had one."""
        table, count = schema.marks, 0
        with self._db.begin() as connection:
            for image in images:
                if connection.execute(sa.delete(table).where(table.c.image == image)).rowcount:
                    connection.execute(entry("unmark", image, {"client": client}))
                    count += 1
        return count

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
