"""Predictions that clients were given, so that one saved unchanged is recognised."""

from __future__ import annotations

import time

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database

_MAX_PER_IMAGE = 64  # the oldest are forgotten: one per model, of few models


class Predictions:
    """Digests of the predicted labels of each image."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, image: str, digest: str, model: str) -> None:
        """Remember a prediction; a second call for the same one changes nothing.

        :param digest: of the label on the image's grid, from `pool.imaging.digests.label_digest`
        :param model: name of the model
        """
        table = schema.predictions
        if self.has(image, digest):
            return
        own = sa.select(table.c.digest).where(table.c.image == image).order_by(table.c.created.desc())
        with self._db.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.image == image, table.c.digest == digest))
            connection.execute(
                sa.insert(table).values(image=image, digest=digest, model=model, created=time.time())
            )
            if old := list(connection.scalars(own))[_MAX_PER_IMAGE:]:
                connection.execute(sa.delete(table).where(table.c.image == image, table.c.digest.in_(old)))

    def has(self, image: str, digest: str) -> bool:
        """Return whether a client was given this label as a prediction."""
        table = schema.predictions
        found = sa.select(table.c.image).where(table.c.image == image, table.c.digest == digest)
        return bool(self._db.read(found))
