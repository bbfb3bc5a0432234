"""Decisions of a lead while the server runs: images that come next or are held out, and alpha."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entries, entry

NEXT, HELD_OUT = "next", "held_out"
MAX_ASKED = 4  # alphas of clients that are kept planned
_MEASURES = "hold_out"  # name of a choice
_ALPHA, _FORMER_ALPHA = "alpha", "former alpha"  # names among the choices
_ASKED = "asked "  # begins the names of these among the choices; a method and its alpha follow


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
        with self._db.begin(durable=True) as connection:
            _delete(connection, images)
            connection.execute(sa.insert(schema.marks), rows)
            connection.execute(*entries("mark", images, facts))

    def remove(self, images: Sequence[str], client: str) -> int:
        """Remove marks, and return the number of images that had one."""
        with self._db.begin(durable=True) as connection:
            marked = set(connection.scalars(sa.select(schema.marks.c.image)))
            to_remove = [image for image in images if image in marked]
            if to_remove:
                _delete(connection, to_remove)
                connection.execute(*entries("unmark", to_remove, {"client": client}))
        return len(to_remove)

    def newest(self, client: str) -> float | None:
        """Return when a client last set a mark that still holds, seconds since the epoch; None if never."""
        table = schema.marks.c
        rows = self._db.read(sa.select(sa.func.max(table.created)).where(table.client == client))
        return None if rows[0][0] is None else float(rows[0][0])

    def measures(self) -> bool | None:
        """Return whether images of this pool are held out by themselves; None before that was decided."""
        table = schema.choices.c
        rows = self._db.read(sa.select(table.value).where(table.name == _MEASURES))
        return bool(rows[0].value) if rows else None

    def decide_measures(self, measures: bool) -> None:
        """Decide, once and for all, whether images of this pool are held out by themselves."""
        row = {"name": _MEASURES, "value": float(measures), "client": "server", "created": time.time()}
        with self._db.begin() as connection:
            connection.execute(sa.delete(schema.choices).where(schema.choices.c.name == _MEASURES))
            connection.execute(sa.insert(schema.choices).values(row))

    def chosen_alpha(self) -> float | None:
        """Return the alpha that a lead chose, or None when the setting applies."""
        return self._alpha(_ALPHA)

    def former_alpha(self) -> float | None:
        """Return the planned alpha before the chosen one, or None for the setting."""
        return self._alpha(_FORMER_ALPHA)

    def _alpha(self, name: str) -> float | None:
        rows = self._db.read(sa.select(schema.choices.c.value).where(schema.choices.c.name == name))
        return float(rows[0].value) if rows else None

    def choose_alpha(self, alpha: float | None, client: str, is_planned: bool = True) -> None:
        """Set the weight of diversity from now on; None restores the setting.

        :param is_planned: there is a plan with the alpha so far, which holds until there is one with the new
            alpha; otherwise the one before it goes on holding
        """
        now, table = self.chosen_alpha(), schema.choices
        values = {_ALPHA: alpha} | ({_FORMER_ALPHA: now} if is_planned else {})
        about = {"client": client, "created": time.time()}
        with self._db.begin(durable=True) as connection:
            connection.execute(sa.delete(table).where(table.c.name.in_(values)))
            for name, value in values.items():
                if value is not None:
                    connection.execute(sa.insert(table).values(name=name, value=value, **about))
            connection.execute(entry("alpha", None, {"alpha": alpha, "client": client}))

    def asked_alphas(self) -> list[tuple[str, float]]:
        """Return the methods and alphas that clients asked for last, the newest first."""
        rows = self._db.read(_asked())
        return [(row.name.split(" ")[1], float(row.value)) for row in rows]

    def ask_alpha(self, method: str, alpha: float, client: str) -> None:
        """Remember an alpha that a client asks for; at most MAX_ASKED, so that the oldest is forgotten."""
        table, name = schema.choices, f"{_ASKED}{method} {alpha:g}"
        row = {"name": name, "value": alpha, "client": client, "created": time.time()}
        with self._db.begin(durable=True) as connection:
            connection.execute(sa.delete(table).where(table.c.name == name))
            connection.execute(sa.insert(table).values(row))
            old = [asked.name for asked in connection.execute(_asked())][MAX_ASKED:]
            connection.execute(sa.delete(table).where(table.c.name.in_(old)))


def _asked() -> sa.Select[tuple[str, float]]:
    table = schema.choices
    query = sa.select(table.c.name, table.c.value).where(table.c.name.startswith(_ASKED))
    return query.order_by(table.c.created.desc(), table.c.name)


def _delete(connection: sa.Connection, images: Sequence[str]) -> None:
    delete = sa.delete(schema.marks).where(schema.marks.c.image == sa.bindparam("removed"))
    connection.execute(delete, [{"removed": image} for image in images])
