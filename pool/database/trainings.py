"""Trainings that were started, and how far the refresh is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry


class Trainings:
    """Trainings with the request they were started by."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def start(self, request: Mapping[str, Any], labelled: int = 0) -> int:
        """Open a training, and say under which number; `labelled` is the final labels that it starts from."""
        values = {"request": dict(request), "labelled": labelled, "running": True, "created": time.time()}
        with self._db.begin() as connection:
            done = connection.execute(sa.insert(schema.trainings).values(values))
            connection.execute(entry("training", None, {"request": dict(request), "labelled": labelled}))
        assert done.inserted_primary_key is not None
        return int(done.inserted_primary_key[0])

    def end(self, outcome: str, training: int | None = None) -> None:
        """Close a training, or all that are open; `outcome` says how it ended."""
        table = schema.trainings
        which = table.c.running if training is None else table.c.id == training
        self._db.write(
            sa.update(table).where(which).values(running=False, outcome=outcome),
            entry("training_ended", None, {"outcome": outcome}),
        )

    def labels_of_last(self, model: str = "segmentation") -> int | None:
        """Number of final labels that the newest training of `model` that did not fail started from."""
        table = schema.trainings
        query = sa.select(table.c.labelled).where(
            sa.func.coalesce(table.c.outcome, "") != "ERROR",
            sa.func.coalesce(table.c.request["model"].as_string(), model) == model,
        )
        rows = self._db.read(query.order_by(table.c.id.desc()).limit(1))
        return rows[0].labelled if rows else None

    def newest_open(self) -> tuple[int, dict[str, Any]] | None:
        """Number and request of the newest training that was started and has not ended, or None."""
        table = schema.trainings
        rows = self._db.read(
            sa.select(table.c.id, table.c.request).where(table.c.running).order_by(table.c.id)
        )
        return (rows[-1].id, dict(rows[-1].request)) if rows else None


class Progress:
    """How far the refresh is; one row."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def get(self) -> dict[str, Any] | None:
        """What refresh is doing: step, done, total, started, updated, error; None before its first run."""
        rows = self._db.read(sa.select(schema.progress))
        return dict(rows[0]._mapping) if rows else None

    def set(self, step: str, done: int, total: int, started: float, error: str | None = None) -> None:
        self._db.write(
            sa.delete(schema.progress),
            sa.insert(schema.progress).values(
                id=1, step=step, done=done, total=total, started=started, updated=time.time(), error=error
            ),
        )
