"""Scores of images by a model or a rule: entropies, foreground, entropies of classes."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database
from pool.database.embeddings import MAX_ROWS


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
        table, names = schema.entropies, list(values)
        rows = [{"model": model, "image": image, "value": value} for image, value in values.items()]
        with self._db.begin() as connection:
            for start in range(0, len(names), MAX_ROWS):  # a statement takes only some thousand values
                batch = names[start : start + MAX_ROWS]
                connection.execute(sa.delete(table).where(table.c.model == model, table.c.image.in_(batch)))
            if rows:
                connection.execute(sa.insert(table), rows)

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
        table = schema.measures
        rows = [
            {"source": source, "kind": kind, "image": image, "value": value}
            for image, kinds in values.items()
            for kind, value in kinds.items()
        ]
        names = list(values)
        with self._db.begin() as connection:
            for start in range(0, len(names), MAX_ROWS):  # a statement takes only some thousand values
                batch = names[start : start + MAX_ROWS]
                connection.execute(sa.delete(table).where(table.c.source == source, table.c.image.in_(batch)))
            if rows:
                connection.execute(sa.insert(table), rows)
