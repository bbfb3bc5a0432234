"""Trainings and their outcomes, and the progress of the refresh."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry


class Trainings:
    """Trainings, with the request that started each."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def start(self, request: Mapping[str, Any], labelled: int = 0) -> int:
        """Record the start of a training from `labelled` final labels; return its number."""
        values = {"request": dict(request), "labelled": labelled, "running": True, "created": time.time()}
        with self._db.begin() as connection:
            inserted = connection.execute(sa.insert(schema.trainings).values(values))
            connection.execute(entry("training", None, {"request": dict(request), "labelled": labelled}))
        assert inserted.inserted_primary_key is not None
        return int(inserted.inserted_primary_key[0])

    def end(self, outcome: str, training: int | None = None) -> None:
        """Close a training, or all open ones; `outcome` says how it ended."""
        table = schema.trainings
        chosen = table.c.running if training is None else table.c.id == training
        self._db.write(
            sa.update(table).where(chosen).values(running=False, outcome=outcome),
            entry("training_ended", None, {"outcome": outcome}),
        )

    def labels_of_last(self, model: str = "segmentation") -> int | None:
        """Return the number of final labels the newest training of `model` that did not fail started from."""
        table = schema.trainings
        query = sa.select(table.c.labelled).where(
            sa.func.coalesce(table.c.outcome, "") != "ERROR",
            sa.func.coalesce(table.c.request["model"].as_string(), model) == model,
        )
        rows = self._db.read(query.order_by(table.c.id.desc()).limit(1))
        return rows[0].labelled if rows else None

    def newest_open(self) -> tuple[int, dict[str, Any]] | None:
        """Return the number and request of the newest training that has not ended, or None."""
        table = schema.trainings
        rows = self._db.read(
            sa.select(table.c.id, table.c.request).where(table.c.running).order_by(table.c.id)
        )
        return (rows[-1].id, dict(rows[-1].request)) if rows else None


class Progress:
    """Progress of the refresh, in one row."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self) -> dict[str, Any] | None:
        """Return the step, done, total, started, updated and error of refresh; None before its first run."""
        rows = self._db.read(sa.select(schema.progress))
        return dict(rows[0]._mapping) if rows else None

    def set(self, step: str, done: int, total: int, started: float, error: str | None = None) -> None:
        """Replace what refresh is doing; parameters as in the answer of `get`."""
        self._db.write(
            sa.delete(schema.progress),
            sa.insert(schema.progress).values(
                id=1, step=step, done=done, total=total, started=started, updated=time.time(), error=error
            ),
        )
