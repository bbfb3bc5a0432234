"""The state of one pool: its database and the folder that also holds its models.

The datastore is the only truth about images and labels; what is computed can be rebuilt from them. Every
public method is one transaction, safe between the server and its child processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from pool.database import schema
from pool.database.copies import Copies
from pool.database.database import Database, entry
from pool.database.handouts import Handouts
from pool.database.history import History
from pool.database.journal import Journal
from pool.database.marks import Marks

_VECTORS = 1_000  # embeddings read at once


@dataclass(frozen=True)
class Layout:
    """A map: row i of `points` (N, d) is image i of `images`, whose file had fingerprint `marks[i]`.

    :param images: sorted; some may have left the pool since
    :param laid_out: (N,) False for an image that was placed on the map later
    """

    id: int
    images: list[str]
    marks: list[str]
    points: np.ndarray
    laid_out: np.ndarray

    @cached_property
    def fitted(self) -> int:
        """How many images were laid out together; the others were placed among them."""
        return int(self.laid_out.sum())


@dataclass(frozen=True)
class Model:
    """A published model: sha256 of its file, its round, the images it was trained on, and when it came."""

    fingerprint: str
    round: int
    labelled: list[str]
    details: dict[str, Any]
    created: float


class State:
    """What is computed for one pool, in `folder`; `journal` has its plans and ledger, `handouts` leases and
    skips, `marks` what a lead decided, `copies` what is there twice, `history` what happened to an image."""

    def __init__(self, folder: Path, migrate: bool = False, url: str = "") -> None:
        self._db = Database(folder, migrate, url)
        self.database, self.exclusive, self.trouble = str(self._db), self._db.exclusive, self._db.trouble
        self.folder, self.journal, self.handouts = folder, Journal(self._db), Handouts(self._db)
        self.marks, self.copies = Marks(self._db), Copies(self._db)
        self.history = History(self._db)
        self._model = lru_cache(maxsize=64)(self._read_model)  # models never change but for their round
        self._layout = lru_cache(maxsize=4)(self._read_layout)  # nor maps but for what is placed on them

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

    def forget_failures(self) -> None:
        """Have every image that could not be read tried again."""
        self._db.write(sa.delete(schema.failures))

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
            sa.delete(schema.measures).where(schema.measures.c.image.in_(replaced)),
            sa.delete(table).where(table.c.encoder == encoder, table.c.image.in_(images)),
            sa.delete(schema.failures).where(schema.failures.c.image.in_(images)),
            sa.insert(table).values(values),
        )

    def vectors(self, encoder: str, images: Sequence[str]) -> np.ndarray:
        """Embeddings (N, D) float64 in the order of `images`. Raises KeyError for one without.

        Read in parts: a large pool's are gigabytes, which are in memory once.
        """
        table, found = schema.embeddings, np.empty((0, 0))
        columns = sa.select(table.c.image, table.c.vector).where(table.c.encoder == encoder)
        for at in range(0, len(images), _VECTORS):
            part = images[at : at + _VECTORS]
            rows = {row.image: row.vector for row in self._db.read(columns.where(table.c.image.in_(part)))}
            block = np.stack([np.frombuffer(rows[image], dtype=np.float32) for image in part])
            if at == 0:
                found = np.empty((len(images), block.shape[1]))
            found[at : at + len(part)] = block
        return found

    # maps ---------------------------------------------------------------------------------------------

    def newest_layout(self, key: str) -> Layout | None:
        """The newest map for an encoder, projection and seed, with all that was placed on it."""
        return self._find_layout(schema.layouts.c.key == key)

    def layout(self, layout_id: int) -> Layout:
        """One map, with all that was placed on it. Raises KeyError for an unknown one."""
        found = self._find_layout(schema.layouts.c.id == layout_id)
        if found is None:
            raise KeyError(layout_id)
        return found

    def _find_layout(self, which: sa.ColumnElement[bool]) -> Layout | None:
        base, placed = schema.layouts, schema.placed
        newest = sa.select(sa.func.max(placed.c.id)).where(placed.c.layout == base.c.id).scalar_subquery()
        rows = self._db.read(sa.select(base.c.id, newest).where(which).order_by(base.c.id.desc()).limit(1))
        return self._layout(*rows[0]) if rows else None

    def _read_layout(self, layout_id: int, newest: int | None) -> Layout:
        """A map as it was when `newest` was the last row placed on it."""
        base, placed = schema.layouts, schema.placed
        row = self._db.read(sa.select(base).where(base.c.id == layout_id))[0]
        points = np.frombuffer(row.points, dtype=np.float64).reshape(len(row.images), -1)
        found = {i: (mark, point, True) for i, mark, point in zip(row.images, row.marks, points, strict=True)}
        late = sa.select(placed).where(placed.c.layout == layout_id, placed.c.id <= (newest or 0))
        for new in self._db.read(late.order_by(placed.c.id)):
            found[new.image] = (new.mark, np.frombuffer(new.point, dtype=np.float64), False)
        images = sorted(found)
        marks, rows, laid_out = zip(*(found[i] for i in images), strict=True)
        return Layout(layout_id, images, list(marks), np.stack(rows), np.array(laid_out, dtype=bool))

    def add_layout(
        self, key: str, marks: Mapping[str, str], points: np.ndarray, reason: str = "first"
    ) -> None:
        """Keep a map; `marks` is {image: fingerprint} in row order, `reason` why it was laid out."""
        images = list(marks)
        self._db.write(
            sa.insert(schema.layouts).values(
                key=key,
                images=images,
                marks=list(marks.values()),
                created=time.time(),
                points=np.ascontiguousarray(points, np.float64).tobytes(),
            ),
            entry("map", None, {"key": key, "images": len(images), "reason": reason}),
        )

    def add_placed(self, layout_id: int, rows: Iterable[tuple[str, str, np.ndarray]]) -> None:
        """Put (image, fingerprint, point) rows on a map; an image that it has moves to its new point."""
        values = [
            {"layout": layout_id, "image": i, "mark": mark, "point": np.asarray(p, np.float64).tobytes()}
            for i, mark, p in rows
        ]
        with self._db.begin() as connection:
            connection.execute(sa.insert(schema.placed), values)  # row by row: they may be thousands
            connection.execute(entry("placed", None, {"layout": layout_id, "images": len(values)}))

    # models and entropies -----------------------------------------------------------------------------

    def models(self) -> list[Model]:
        """Published models, newest first."""
        table = schema.models
        rows = self._db.read(sa.select(table.c.fingerprint, table.c.round).order_by(table.c.round.desc()))
        return [self._model(row.fingerprint, row.round) for row in rows]

    def _read_model(self, fingerprint: str, number: int) -> Model:
        row = self._db.read(sa.select(schema.models).where(schema.models.c.fingerprint == fingerprint))[0]
        return Model(fingerprint, number, row.labelled, row.details, row.created)

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

    def measures(self, source: str, kind: str | None = None) -> dict[str, dict[str, float]]:
        """Other numbers of images by their kind, {kind: {image: value}}, as one model or rule says.

        :param kind: the only one that is wanted
        """
        table = schema.measures
        query = sa.select(table).where(table.c.source == source)
        found: dict[str, dict[str, float]] = {}
        for row in self._db.read(query.where(table.c.kind == kind) if kind else query):
            found.setdefault(row.kind, {})[row.image] = row.value
        return found

    def validations(self, model: str) -> dict[str, dict[str, list[float]]]:
        """How good a model is on each held-out image: numbers per class, as `infers.metrics.score_image`."""
        table = schema.validations
        rows = self._db.read(sa.select(table).where(table.c.model == model).order_by(table.c.image))
        return {row.image: row.scores for row in rows}

    def count_validations(self, model: str) -> int:
        """Number of images that this model has been measured on."""
        table = schema.validations
        return int(self._db.read(sa.select(sa.func.count()).where(table.c.model == model))[0][0])

    def add_validation(self, model: str, image: str, scores: Mapping[str, Sequence[float]]) -> None:
        table = schema.validations
        self._db.write(
            sa.delete(table).where(table.c.model == model, table.c.image == image),
            sa.insert(table).values(model=model, image=image, scores=dict(scores)),
        )

    def forget_validations(self, image: str) -> None:
        """An image has another label: what models were measured by has changed."""
        self._db.write(sa.delete(schema.validations).where(schema.validations.c.image == image))

    def add_measures(self, source: str, values: Mapping[str, Mapping[str, float]]) -> None:
        """Keep {image: {kind: value}}."""
        table = schema.measures
        rows = [
            {"source": source, "kind": kind, "image": image, "value": value}
            for image, kinds in values.items()
            for kind, value in kinds.items()
        ]
        names = list(values)
        with self._db.begin() as connection:
            for at in range(0, len(names), _VECTORS):  # a statement has room for some thousand values
                part = names[at : at + _VECTORS]
                connection.execute(sa.delete(table).where(table.c.source == source, table.c.image.in_(part)))
            if rows:
                connection.execute(sa.insert(table), rows)
