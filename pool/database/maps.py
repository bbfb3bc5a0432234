"""Maps of the pool: the position of each image, including images placed on a map later."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry


@dataclass(frozen=True)
class Layout:
    """A map: row i of `points` (N, d) is image i of `images`.

    :param fingerprints: of each image's file when it was mapped
    :param images: sorted; some may have left the pool since
    :param laid_out: (N,) False for an image that was placed on the map later
    """

    id: int
    images: list[str]
    fingerprints: list[str]
    points: np.ndarray
    laid_out: np.ndarray

    @cached_property
    def fitted(self) -> int:
        """The number of images laid out together; the others were placed among them later."""
        return int(self.laid_out.sum())


class Maps:
    """Maps by key (encoder, projection, seed); the newest one counts."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._read = lru_cache(maxsize=4)(self._read_layout)  # only placing images changes a map

    def newest(self, key: str) -> Layout | None:
        """Return the newest map for an encoder, projection and seed, including images placed later."""
        return self._find(schema.layouts.c.key == key)

    def get(self, layout_id: int) -> Layout:
        """Return one map, including images placed later. Raises KeyError for an unknown id."""
        layout = self._find(schema.layouts.c.id == layout_id)
        if layout is None:
            raise KeyError(layout_id)
        return layout

    def _find(self, which: sa.ColumnElement[bool]) -> Layout | None:
        base, placed = schema.layouts, schema.placed
        newest = sa.select(sa.func.max(placed.c.id)).where(placed.c.layout == base.c.id).scalar_subquery()
        rows = self._db.read(sa.select(base.c.id, newest).where(which).order_by(base.c.id.desc()).limit(1))
        return self._read(*rows[0]) if rows else None

    def _read_layout(self, layout_id: int, newest: int | None) -> Layout:
        """Read a map as it was when `newest` was the last row placed on it."""
        base, placed = schema.layouts, schema.placed
        row = self._db.read(sa.select(base).where(base.c.id == layout_id))[0]
        points = np.frombuffer(row.points, dtype=np.float64).reshape(len(row.images), -1)
        latest = {
            i: (fingerprint, point, True)
            for i, fingerprint, point in zip(row.images, row.marks, points, strict=True)
        }
        late = sa.select(placed).where(placed.c.layout == layout_id, placed.c.id <= (newest or 0))
        for placement in self._db.read(late.order_by(placed.c.id)):
            latest[placement.image] = (
                placement.mark,
                np.frombuffer(placement.point, dtype=np.float64),
                False,
            )
        images = sorted(latest)
        fingerprints, rows, laid_out = zip(*(latest[i] for i in images), strict=True)
        return Layout(layout_id, images, list(fingerprints), np.stack(rows), np.array(laid_out, dtype=bool))

    def add(
        self, key: str, fingerprints: Mapping[str, str], points: np.ndarray, reason: str = "first"
    ) -> None:
        """Store a map; `fingerprints` is {image: fingerprint} in row order, `reason` why it was laid out."""
        images = list(fingerprints)
        self._db.write(
            sa.insert(schema.layouts).values(
                key=key,
                images=images,
                marks=list(fingerprints.values()),
                created=time.time(),
                points=np.ascontiguousarray(points, np.float64).tobytes(),
            ),
            entry("map", None, {"key": key, "images": len(images), "reason": reason}),
        )

    def place(self, layout_id: int, rows: Iterable[tuple[str, str, np.ndarray]]) -> None:
        """Place (image, fingerprint, point) rows on a map; an image already on it moves to its new point."""
        values = [
            {
                "layout": layout_id,
                "image": image,
                "mark": fingerprint,
                "point": np.asarray(point, np.float64).tobytes(),
            }
            for image, fingerprint, point in rows
        ]
        with self._db.begin() as connection:
            connection.execute(sa.insert(schema.placed), values)  # row by row: there may be thousands
            connection.execute(entry("placed", None, {"layout": layout_id, "images": len(values)}))
