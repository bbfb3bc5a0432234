"""Embeddings of images, and the images that could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry

MAX_ROWS = 1_000  # per statement, and read at once


class Failures:
    """Images that could not be read."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> dict[str, tuple[str, str]]:
        """Return the images that could not be read: {image: (fingerprint, reason)}."""
        return {row.image: (row.fingerprint, row.reason) for row in self._db.read(sa.select(schema.failures))}

    def add(self, image: str, fingerprint: str, reason: str) -> None:
        """Keep why an image's present file cannot be read."""
        table = schema.failures
        self._db.write(
            sa.delete(table).where(table.c.image == image),
            sa.insert(table).values(image=image, fingerprint=fingerprint, reason=reason),
            entry("failed", image, {"reason": reason}),
        )

    def forget(self) -> None:
        """Forget all failures, so that these images are tried again."""
        self._db.write(sa.delete(schema.failures))


class Embeddings:
    """Embeddings by encoder and image."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def fingerprints(self, encoder: str) -> dict[str, str]:
        """Return the images this encoder has embedded: {image: fingerprint of the file it was made from}."""
        table = schema.embeddings
        rows = self._db.read(sa.select(table.c.image, table.c.fingerprint).where(table.c.encoder == encoder))
        return {row.image: row.fingerprint for row in rows}

    def has(self, encoder: str, image: str) -> bool:
        """Return whether this encoder has embedded an image, so that it could be read."""
        table = schema.embeddings
        query = sa.select(table.c.image).where(table.c.encoder == encoder, table.c.image == image)
        return bool(self._db.read(query))

    def add(self, encoder: str, rows: Iterable[tuple[str, str, np.ndarray]]) -> None:
        """Store (image, fingerprint, vector) rows, and drop what was computed from an image's older file."""
        table = schema.embeddings
        rows = list(rows)
        images = [image for image, _, _ in rows]
        values = [
            {
                "image": image,
                "encoder": encoder,
                "fingerprint": fingerprint,
                "vector": np.asarray(vector, dtype=np.float32).tobytes(),
            }
            for image, fingerprint, vector in rows
        ]
        replaced = sa.select(table.c.image).where(table.c.encoder == encoder, table.c.image.in_(images))
        self._db.write(
            sa.delete(schema.entropies).where(schema.entropies.c.image.in_(replaced)),
            sa.delete(schema.measures).where(schema.measures.c.image.in_(replaced)),
            sa.delete(table).where(table.c.encoder == encoder, table.c.image.in_(images)),
            sa.delete(schema.failures).where(schema.failures.c.image.in_(images)),
            sa.insert(table).values(values),
        )

    def vectors(self, encoder: str, images: Sequence[str]) -> np.ndarray:
        """Return embeddings (N, D) float64 in the order of `images`. Raises KeyError for one without.

        They are read in batches: in a large pool they take gigabytes, which must not be in memory twice.
        """
        table, vectors = schema.embeddings, np.empty((0, 0))
        columns = sa.select(table.c.image, table.c.vector).where(table.c.encoder == encoder)
        for start in range(0, len(images), MAX_ROWS):
            batch = images[start : start + MAX_ROWS]
            rows = {row.image: row.vector for row in self._db.read(columns.where(table.c.image.in_(batch)))}
            block = np.stack([np.frombuffer(rows[image], dtype=np.float32) for image in batch])
            if start == 0:
                vectors = np.empty((len(images), block.shape[1]))
            vectors[start : start + len(batch)] = block
        return vectors
