"""The state of one pool: its database and the folder that also holds its models.

The datastore is the only truth about images and labels; what is computed can be rebuilt from them. Every
public method is one transaction, safe between the server and its child processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from pool import schema
from pool.database import Database, entry
from pool.handouts import Handouts
from pool.journal import Journal


@dataclass(frozen=True)
class Layout:
    """A map: row i of `points` (N, d) is image i of `images`, whose file had fingerprint `marks[i]`."""

    id: int
    images: list[str]
    marks: list[str]
    points: np.ndarray


@dataclass(frozen=True)
class Model:
    """A published model: sha256 of its file, its round, the images it was trained on."""

    fingerprint: str
    round: int
    labelled: list[str]
    details: dict[str, Any]


class State:
    """What is computed for one pool, in `folder`; `journal` has its history, `handouts` leases and skips."""

    def __init__(self, folder: Path, migrate: bool = False, url: str = "") -> None:
        self._db = Database(folder, migrate, url)
        self.database, self.exclusive, self.trouble = str(self._db), self._db.exclusive, self._db.trouble
        self.folder, self.journal, self.handouts = folder, Journal(self._db), Handouts(self._db)
        self._model = lru_cache(maxsize=64)(self._read_model)  # nor do models but for their round
        self.layout = lru_cache(maxsize=4)(self._layout)  # maps never change once written

    # embeddings ---------------------------------------------------------------------------------------

    def failures(self) -> dict[str, tuple[str, str]]:
        """Images that could not be read: {image: (fingerprint, reason)}."""
        return {row.image: (row.fingerprint, row.reason) for row in self._db.read(sa.select(schema.failures))}

    def add_failure(self, image: str, fingerprint: str, reason: str) -> None:
        table = schema.failures
        self._db.write(
            sa.delete(table).where(table.c.image == image),
            sa.insert(table).values(image=image, fingerprint=fingerprint, reason=reason),
            entry("failed", image, {"reason": reason}),
        )

    def embedded(self, encoder: str) -> dict[str, str]:
        """Images with an embedding of this encoder: {image: fingerprint of the file it was made from}."""
        table = schema.embeddings
        rows = self._db.read(sa.select(table.c.image, table.c.fingerprint).where(table.c.encoder == encoder))
        return {row.image: row.fingerprint for row in rows}

    def add_embeddings(self, encoder: str, rows: Iterable[tuple[str, str, np.ndarray]]) -> None:
        """Keep (image, fingerprint, vector) rows; what an older file of an image had goes."""
        table = schema.embeddings
        rows = list(rows)
        images = [image for image, _, _ in rows]
        values = [
            {
                "image": image,
                "encoder": encoder,
                "fingerprint": mark,
                "vector": np.asarray(vector, dtype=np.float32).tobytes(),
            }
            for image, mark, vector in rows
        ]
        replaced = sa.select(table.c.image).where(table.c.encoder == encoder, table.c.image.in_(images))
        self._db.write(
            sa.delete(schema.entropies).where(schema.entropies.c.image.in_(replaced)),
            sa.delete(table).where(table.c.encoder == encoder, table.c.image.in_(images)),
            sa.delete(schema.failures).where(schema.failures.c.image.in_(images)),
            sa.insert(table).values(values),
        )

    def vectors(self, encoder: str, images: Sequence[str]) -> np.ndarray:
        """Embeddings (N, D) float64 in the order of `images`. Raises KeyError for one without."""
        table = schema.embeddings
        rows = self._db.read(sa.select(table.c.image, table.c.vector).where(table.c.encoder == encoder))
        found = {row.image: row.vector for row in rows}
        return np.stack([np.frombuffer(found[i], dtype=np.float32) for i in images]).astype(np.float64)

    # maps ---------------------------------------------------------------------------------------------

    def newest_layout(self, key: str) -> Layout | None:
        """The newest map for an encoder, projection and seed."""
        table = schema.layouts
        rows = self._db.read(sa.select(sa.func.max(table.c.id)).where(table.c.key == key))
        return self.layout(rows[0][0]) if rows[0][0] is not None else None

    def _layout(self, layout_id: int) -> Layout:
        table = schema.layouts
        row = self._db.read(sa.select(table).where(table.c.id == layout_id))[0]
        points = np.frombuffer(row.points, dtype=np.float64).reshape(len(row.images), -1)
        return Layout(row.id, row.images, row.marks, points)

    def add_layout(self, key: str, marks: Mapping[str, str], points: np.ndarray) -> None:
        """Keep a map; `marks` is {image: fingerprint} in row order."""
        images = list(marks)
        self._db.write(
            sa.insert(schema.layouts).values(
                key=key,
                images=images,
                marks=list(marks.values()),
                created=time.time(),
                points=np.ascontiguousarray(points, np.float64).tobytes(),
            ),
            entry("map", None, {"key": key, "images": len(images)}),
        )

    # models and entropies -----------------------------------------------------------------------------

    def models(self) -> list[Model]:
        """Published models, newest first."""
        table = schema.models
        rows = self._db.read(sa.select(table.c.fingerprint, table.c.round).order_by(table.c.round.desc()))
        return [self._model(row.fingerprint, row.round) for row in rows]

    def _read_model(self, fingerprint: str, number: int) -> Model:
        row = self._db.read(sa.select(schema.models).where(schema.models.c.fingerprint == fingerprint))[0]
        return Model(fingerprint, number, row.labelled, row.details)

    def count_entropies(self, model: str) -> int:
        """Number of images that this model has scored."""
        table = schema.entropies
        return int(self._db.read(sa.select(sa.func.count()).where(table.c.model == model))[0][0])

    def add_model(self, fingerprint: str, labelled: Sequence[str], details: Mapping[str, Any]) -> None:
        """Keep a new model as the next round; one that is known becomes the newest again."""
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

    def entropies(self, model: str) -> dict[str, float]:
        """Mean entropy of each image that this model has scored, in nats."""
        table = schema.entropies
        rows = self._db.read(sa.select(table.c.image, table.c.value).where(table.c.model == model))
        return {row.image: row.value for row in rows}

    def add_entropies(self, model: str, values: Mapping[str, float]) -> None:
        table = schema.entropies
        rows = [{"model": model, "image": image, "value": value} for image, value in values.items()]
        self._db.write(
            sa.delete(table).where(table.c.model == model, table.c.image.in_(list(values))),
            sa.insert(table).values(rows),
        )
