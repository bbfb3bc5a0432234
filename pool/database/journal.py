"""What was planned and what happened in one pool: plans, trainings, progress, and the ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping
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


class Journal:
    """Plans and history of one pool; every public method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.plan_by_id = lru_cache(maxsize=16)(self._plan_by_id)  # plans never change once written

    # plans --------------------------------------------------------------------------------------------

    def plan(self, key: str) -> Plan | None:
        """The newest plan under a key, or None."""
        table = schema.plans
        rows = self._db.read(sa.select(sa.func.max(table.c.id)).where(table.c.key == key))
        return self.plan_by_id(rows[0][0]) if rows[0][0] is not None else None

    def _plan_by_id(self, plan_id: int) -> Plan:
        row = self._db.read(sa.select(schema.plans).where(schema.plans.c.id == plan_id))[0]
        return Plan(row.id, row.key, row.kind, row.layout, row.model, row.scored, row.picks, row.details)

    def add_plan(self, plan: Plan) -> Plan:
        """Keep a plan and write it to the ledger with all its evidence; returns it with its id."""
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
            done = connection.execute(sa.insert(schema.plans).values(created=time.time(), **values))
            connection.execute(entry("plan", None, values))
        assert done.inserted_primary_key is not None
        return self.plan_by_id(done.inserted_primary_key[0])

    # ledger, progress, trainings ----------------------------------------------------------------------

    def log(self, event: str, image: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        """Append to the ledger."""
        self._db.write(entry(event, image, details or {}))

    def ledger(self) -> list[dict[str, Any]]:
        """Everything that happened, oldest first."""
        rows = self._db.read(sa.select(schema.ledger).order_by(schema.ledger.c.id))
        return [dict(row._mapping) for row in rows]

    def labels(self) -> list[tuple[str, str, float]]:
        """Every final label that was kept: image, whose it is, and when; oldest first."""
        table = schema.ledger.c
        details = [table.details[name].as_string().label(name) for name in ("client", "tag")]
        query = sa.select(table.image, table.created, *details).where(table.event == "label")
        rows = self._db.read(query.order_by(table.id))  # with a tag it is no final one
        return [(row.image, row.client or "anonymous", row.created) for row in rows if row.tag is None]

    def progress(self) -> dict[str, Any] | None:
        """What refresh is doing: step, done, total, started, updated, error; None before its first run."""
        rows = self._db.read(sa.select(schema.progress))
        return dict(rows[0]._mapping) if rows else None

    def set_progress(
        self, step: str, done: int, total: int, started: float, error: str | None = None
    ) -> None:
        self._db.write(
            sa.delete(schema.progress),
            sa.insert(schema.progress).values(
                id=1, step=step, done=done, total=total, started=started, updated=time.time(), error=error
            ),
        )

    def start_training(self, request: Mapping[str, Any], labelled: int = 0) -> int:
        """Open a training, and say under which number; `labelled` is the final labels that it starts from."""
        values = {"request": dict(request), "labelled": labelled, "running": True, "created": time.time()}
        with self._db.begin() as connection:
            done = connection.execute(sa.insert(schema.trainings).values(values))
            connection.execute(entry("training", None, {"request": dict(request), "labelled": labelled}))
        assert done.inserted_primary_key is not None
        return int(done.inserted_primary_key[0])

    def end_training(self, outcome: str, training: int | None = None) -> None:
        """Close a training, or all that are open; `outcome` says how it ended."""
        table = schema.trainings
        which = table.c.running if training is None else table.c.id == training
        self._db.write(
            sa.update(table).where(which).values(running=False, outcome=outcome),
            entry("training_ended", None, {"outcome": outcome}),
        )

    def last_training(self, model: str = "segmentation") -> int | None:
        """Number of final labels that the newest training of `model` that did not fail started from."""
        table = schema.trainings
        query = sa.select(table.c.labelled).where(
            sa.func.coalesce(table.c.outcome, "") != "ERROR",
            sa.func.coalesce(table.c.request["model"].as_string(), model) == model,
        )
        rows = self._db.read(query.order_by(table.c.id.desc()).limit(1))
        return rows[0].labelled if rows else None

    def open_training(self) -> tuple[int, dict[str, Any]] | None:
        """Number and request of the newest training that was started and has not ended, or None."""
        table = schema.trainings
        rows = self._db.read(
            sa.select(table.c.id, table.c.request).where(table.c.running).order_by(table.c.id)
        )
        return (rows[-1].id, dict(rows[-1].request)) if rows else None
