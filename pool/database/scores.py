"""Scores of images by a model or a rule: entropies, foreground, entropies of classes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database

_AT_ONCE = 500  # images per transaction: some 5 ms
_PAUSE = 0.005  # seconds after each: SQLite lets writers try again after 1, 2, 5, 10, ... ms, in no order


def _parts(images: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield some images at a time with pauses, so that a click never waits long to write its own."""
    for start in range(0, len(images), _AT_ONCE):
        if start:
            time.sleep(_PAUSE)
        yield images[start : start + _AT_ONCE]


def delete_scores(database: Database, sources: Sequence[str]) -> None:
    """Delete all scores of these models."""
    entropies, measures = schema.entropies, schema.measures
    for table, owner in ((entropies, entropies.c.model), (measures, measures.c.source)):
        for source in sources:
            rows = database.read(sa.select(table.c.image).where(owner == source).distinct())
            for images in _parts([row.image for row in rows]):
                database.write(sa.delete(table).where(owner == source, table.c.image.in_(images)))


class Scores:
    """Scores of images; when an image's file changes, they are deleted with its embedding."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def count(self, model: str) -> int:
        """Return the number of images that this model has scored."""
        table = schema.entropies
        return int(self._db.read(sa.select(sa.func.count()).where(table.c.model == model))[0][0])

    def has(self, model: str, image: str) -> bool:
        """Return True if this model has scored the image."""
        table = schema.entropies
        query = sa.select(table.c.image).where(table.c.model == model, table.c.image == image)
        return bool(self._db.read(query))

    def entropies(self, model: str) -> dict[str, float]:
        """Return the mean entropy, in nats, of each image that this model has scored."""
        table = schema.entropies
        rows = self._db.read(sa.select(table.c.image, table.c.value).where(table.c.model == model))
        return {row.image: row.value for row in rows}

    def add_entropies(self, model: str, values: Mapping[str, float]) -> None:
        """Keep the mean entropies of images by a model, in nats."""
        rows = {image: [{"value": value}] for image, value in values.items()}
        self._replace(schema.entropies, schema.entropies.c.model, model, rows)

    def measures(self, source: str, kind: str | None = None) -> dict[str, dict[str, float]]:
        """Return other scores of one model or rule: {kind: {image: value}}.

        :param kind: return only this kind
        """
        table = schema.measures
        query = sa.select(table).where(table.c.source == source)
        measures: dict[str, dict[str, float]] = {}
        for row in self._db.read(query.where(table.c.kind == kind) if kind else query):
            measures.setdefault(row.kind, {})[row.image] = row.value
        return measures

    def add_measures(self, source: str, values: Mapping[str, Mapping[str, float]]) -> None:
        """Store {image: {kind: value}}."""
        rows = {
            image: [{"kind": kind, "value": value} for kind, value in kinds.items()]
            for image, kinds in values.items()
        }
        self._replace(schema.measures, schema.measures.c.source, source, rows)

    def _replace(
        self, table: sa.Table, owner: sa.Column[Any], name: str, rows: Mapping[str, Iterable[dict[str, Any]]]
    ) -> None:
        """Replace the rows of images."""
        for images in _parts(list(rows)):
            new = [{owner.name: name, "image": image, **row} for image in images for row in rows[image]]
            with self._db.begin() as connection:
                connection.execute(sa.delete(table).where(owner == name, table.c.image.in_(images)))
                if new:
                    connection.execute(sa.insert(table), new)
