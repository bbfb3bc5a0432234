"""Prints of a pool's images and the duplicates among them; each method is one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry
from pool.protocol import Print

Sets = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Duplicate:
    """An image that is a copy of another.

    :param distance: number of differing bits of their hashes
    :param exact: whether all pixels are equal
    """

    image: str
    original: str
    distance: int
    exact: bool


class Duplicates:
    """Prints and duplicates of one pool."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._sets = lru_cache(maxsize=2)(self._read_sets)

    def printed(self) -> dict[str, str]:
        """Return the images that have a print: {image: fingerprint of the file it was made from}."""
        table = schema.prints
        rows = self._db.read(sa.select(table.c.image, table.c.fingerprint))
        return {row.image: row.fingerprint for row in rows}

    def add_prints(self, rows: Iterable[tuple[str, str, Print]]) -> None:
        """Store (image, fingerprint, print) rows, to be compared later.

        Images that were copies of a file now replaced are compared again.
        """
        prints, copies = schema.prints, schema.copies
        values = [
            {"image": i, "fingerprint": fingerprint, "pixels": p.pixels, "hash": p.hash, "compared": False}
            for i, fingerprint, p in rows
        ]
        images = [value["image"] for value in values]
        orphans = sa.select(copies.c.image).where(copies.c.original.in_(images))
        if values:
            self._db.write(
                sa.update(prints).where(prints.c.image.in_(orphans)).values(compared=False),
                sa.delete(copies).where(copies.c.image.in_(images) | copies.c.original.in_(images)),
                sa.delete(prints).where(prints.c.image.in_(images)),
                sa.insert(prints).values(values),
            )

    def uncompared(self) -> list[str]:
        """Return the images whose print is not compared with the others yet, sorted."""
        table = schema.prints
        query = sa.select(table.c.image).where(table.c.compared.is_(False)).order_by(table.c.image)
        return [row.image for row in self._db.read(query)]

    def originals(self) -> dict[str, Print]:
        """Return the prints of compared images that are not copies, ordered by id."""
        table = schema.prints
        query = sa.select(table).where(
            table.c.compared.is_(True), table.c.image.not_in(sa.select(schema.copies.c.image))
        )
        return {r.image: Print(r.pixels, r.hash) for r in self._db.read(query.order_by(table.c.image))}

    def prints(self, images: Sequence[str]) -> dict[str, Print]:
        """Return the prints of these images, in their order."""
        table = schema.prints
        rows = {r.image: r for r in self._db.read(sa.select(table).where(table.c.image.in_(images)))}
        return {image: Print(rows[image].pixels, rows[image].hash) for image in images}

    def add(
        self,
        compared: Sequence[str],
        duplicates: Iterable[Duplicate],
        groups: Mapping[str, str] | None = None,
    ) -> None:
        """Record the duplicates among the compared images, and log each in the ledger.

        Where copy and original are in different groups, the entry names both.
        """
        prints, groups = schema.prints, groups or {}
        with self._db.begin() as connection:
            connection.execute(sa.update(prints).where(prints.c.image.in_(compared)).values(compared=True))
            for copy in duplicates:
                connection.execute(
                    sa.insert(schema.copies).values(
                        image=copy.image, original=copy.original, distance=copy.distance, exact=copy.exact
                    )
                )
                details: dict[str, Any] = {
                    "of": copy.original,
                    "exact": copy.exact,
                    "differing_bits": copy.distance,
                }
                both_groups = [groups.get(copy.original), groups.get(copy.image)]
                if both_groups[0] != both_groups[1]:
                    details["groups"] = both_groups
                connection.execute(entry("duplicate", copy.image, details))

    def sets(self) -> Sets:
        """Return {image: sorted images of its duplicate set}; the same object until duplicates change.

        Some of the images may have left the pool.
        """
        table = schema.copies
        version = [sa.func.max(table.c.id), sa.func.count(table.c.id)]
        return self._sets(*self._db.read(sa.select(*version))[0])

    def _read_sets(self, newest: int | None, count: int) -> Sets:
        """Read the duplicate sets; the arguments are the cache key: newest id and number of copies."""
        copies_of: dict[str, list[str]] = defaultdict(list)
        for row in self._db.read(sa.select(schema.copies.c.image, schema.copies.c.original)):
            copies_of[row.original].append(row.image)
        sets = [tuple(sorted([original, *copies])) for original, copies in copies_of.items()]
        return {image: images for images in sets for image in images}


def with_copies(images: frozenset[str], copies: Sets) -> frozenset[str]:
    """Return the images together with all their copies."""
    return images.union(*(copies.get(image, ()) for image in images))
