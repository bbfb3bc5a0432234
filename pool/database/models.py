"""Published models, and their scores on the held-out images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry


@dataclass(frozen=True)
class Model:
    """A published model: sha256 of its file, its round, its training images, and when it was added."""

    fingerprint: str
    round: int
    labelled: list[str]
    details: dict[str, Any]
    created: float


class Models:
    """Published models, one per round."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._model = lru_cache(maxsize=64)(self._read_model)  # only the round of a model can change

    def all(self) -> list[Model]:
        """Return the published models, newest first."""
        table = schema.models
        rows = self._db.read(sa.select(table.c.fingerprint, table.c.round).order_by(table.c.round.desc()))
        return [self._model(row.fingerprint, row.round) for row in rows]

    def _read_model(self, fingerprint: str, number: int) -> Model:
        row = self._db.read(sa.select(schema.models).where(schema.models.c.fingerprint == fingerprint))[0]
        return Model(fingerprint, number, row.labelled, row.details, row.created)

    def add(self, fingerprint: str, labelled: Sequence[str], details: Mapping[str, Any]) -> None:
        """Add a model as the next round; a model already known becomes the newest again."""
        table = schema.models
        with self._db.begin() as connection:
            newest = connection.scalar(sa.select(sa.func.max(table.c.round))) or 0
            connection.execute(sa.delete(table).where(table.c.fingerprint == fingerprint))
            connection.execute(
                sa.insert(table).values(
                    fingerprint=fingerprint,
                    round=newest + 1,
                    labelled=list(labelled),
                    details=dict(details),
                    created=time.time(),
                )
            )
            connection.execute(
                entry(
                    "model",
                    None,
                    {"fingerprint": fingerprint, "round": newest + 1, "labelled": len(labelled), **details},
                )
            )


class Validations:
    """Scores of models on held-out images: numbers per class, as from `infers.metrics.score_image`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of(self, model: str) -> dict[str, dict[str, list[float]]]:
        """Return a model's scores on each held-out image: numbers per class, as in `score_image`."""
        table = schema.validations
        rows = self._db.read(sa.select(table).where(table.c.model == model).order_by(table.c.image))
        return {row.image: row.scores for row in rows}

    def count(self, model: str) -> int:
        """Return the number of images that this model has been measured on."""
        table = schema.validations
        return int(self._db.read(sa.select(sa.func.count()).where(table.c.model == model))[0][0])

    def add(self, model: str, image: str, scores: Mapping[str, Sequence[float]]) -> None:
        """Keep the numbers of a model on one held-out image."""
        table = schema.validations
        self._db.write(
            sa.delete(table).where(table.c.model == model, table.c.image == image),
            sa.insert(table).values(model=model, image=image, scores=dict(scores)),
        )

    def forget(self, image: str) -> None:
        """Drop all scores on an image, because its label has changed."""
        self._db.write(sa.delete(schema.validations).where(schema.validations.c.image == image))
