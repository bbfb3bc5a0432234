"""Plans: the ordered picks of a round, stored for good."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry


@dataclass(frozen=True)
class Plan:
    """Ordered picks of one round; each is a dict with `image` and its evidence."""

    id: int
    key: str
    kind: str
    layout: int
    model: str | None
    scored: int
    picks: list[dict[str, Any]]
    details: dict[str, Any]


class Plans:
    """Plans by key; the newest one counts."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.get = lru_cache(maxsize=16)(self._read)  # a plan never changes once written

    def newest(self, key: str) -> Plan | None:
        """Return the newest plan under a key, or None."""
        table = schema.plans
        rows = self._db.read(sa.select(sa.func.max(table.c.id)).where(table.c.key == key))
        return self.get(rows[0][0]) if rows[0][0] is not None else None

    def newest_before(self, key: str, moment: float) -> int | None:
        """Return the id of the newest plan under a key at a moment (`time.time`), or None."""
        table = schema.plans.c
        query = sa.select(sa.func.max(table.id)).where(table.key == key, table.created <= moment)
        return self._db.read(query)[0][0]

    def _read(self, plan_id: int) -> Plan:
        row = self._db.read(sa.select(schema.plans).where(schema.plans.c.id == plan_id))[0]
        return Plan(row.id, row.key, row.kind, row.layout, row.model, row.scored, row.picks, row.details)

    def add(self, plan: Plan) -> Plan:
        """Store a plan, with its evidence also in the ledger; return it with its id."""
        values = {
            "key": plan.key,
            "kind": plan.kind,
            "layout": plan.layout,
            "model": plan.model,
            "scored": plan.scored,
            "picks": plan.picks,
            "details": plan.details,
        }
        with self._db.begin() as connection:
            inserted = connection.execute(sa.insert(schema.plans).values(created=time.time(), **values))
            connection.execute(entry("plan", None, values))
        assert inserted.inserted_primary_key is not None
        return self.get(inserted.inserted_primary_key[0])
