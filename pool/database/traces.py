"""Rows and texts of the database that tell of certain images: found, counted and removed for privacy.

A table with a column `image` loses the rows of these images. Texts of other rows (plans, models, ledger) keep
all but the images' ids, which become pseudonyms that nobody can turn back.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry
from pool.groups import GROUP

PSEUDONYM = "removed-"  # begins what is left of an id
_BATCH = 500  # rows in memory at once, images per statement
_MIN_MENTION = 4  # characters of an id that is looked for within longer texts
_OUR_KEY = re.compile("[a-z_]+")  # a key of a JSON object that is no image's id, but ours
# details of an image's own ledger entries that stay: numbers of the page of progress are made from them
_KEPT_DETAILS = ("client", "by", "outcome", "tag", "state", "kind")
_OWN = [table for table in schema.metadata.sorted_tables if "image" in table.c and table is not schema.ledger]
_TEXTS = {
    table: [column for column in table.c if isinstance(column.type, sa.JSON)]
    for table in schema.metadata.sorted_tables
    if table is not schema.layouts
}
_REASONS = [table for table in schema.metadata.sorted_tables if "reason" in table.c]  # what people wrote

Advance = Callable[[int], object]


class Traces:
    """What the database of one pool tells of images."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def images(self) -> set[str]:
        """Return the ids of all images that the database tells of, also of those that have left the pool."""
        found: set[str] = set()
        for table in [*_OWN, schema.ledger]:
            found.update(row.image for row in self._db.read(sa.select(table.c.image).distinct()) if row.image)
        for row in self._db.read(sa.select(schema.layouts.c.images)):
            found.update(row.images)
        for row in self._db.read(sa.select(schema.models.c.labelled)):
            found.update(row.labelled)
        return {image for image in found if not image.startswith(PSEUDONYM)}

    def fingerprints(self) -> set[tuple[str, str]]:
        """Return (image, fingerprint of its file) of everything that was computed from images."""
        tables = (schema.embeddings, schema.prints)
        rows = [
            row for table in tables for row in self._db.read(sa.select(table.c.image, table.c.fingerprint))
        ]
        return {(row.image, row.fingerprint) for row in rows}

    def rounds(self, images: Collection[str]) -> list[int]:
        """Return the rounds of the models that were trained on one of the images, the newest first."""
        table, wanted = schema.models, set(images)
        rows = self._db.read(sa.select(table.c.round, table.c.labelled).order_by(table.c.round.desc()))
        return [row.round for row in rows if not wanted.isdisjoint(row.labelled)]

    def count(self, images: Collection[str]) -> dict[str, int]:
        """Return the number of rows of each table that tell of the images; without those that have none."""
        finder, counts = _Finder(images, ()), Counter[str]()
        with self._db.engine.connect().execution_options(reads=True) as connection:
            for table in _OWN:
                for part in _batches(images):
                    query = sa.select(sa.func.count()).where(_is_of(table, part))
                    counts[table.name] += connection.scalar(query) or 0
            layouts = connection.scalars(sa.select(schema.layouts.c.images))
            counts["layouts"] += sum(not finder.wanted.isdisjoint(listed) for listed in layouts)
            for table, columns in _TEXTS.items():
                if table in _OWN:
                    continue
                counts[table.name] += sum(1 for _ in _telling(connection, table, columns, finder))
        return {name: count for name, count in sorted(counts.items()) if count}

    def remove(
        self,
        images: Collection[str],
        who: str,
        facts: Mapping[str, Any],
        advance: Advance = lambda rows: None,
        names: Collection[str] = (),
    ) -> dict[str, int]:
        """Remove what tells of the images in one transaction, and record that without their names.

        :param facts: what else was removed, for the ledger
        :param advance: called with the number of rows that were looked at since
        :param names: of the patients, as groups have them

        Returns the number of rows removed or changed, by table.
        """
        finder, counts = _Finder(images, self.images(), names), Counter[str]()
        with self._db.begin(durable=True) as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete=ON")  # what is removed is overwritten
            _compare_copies_again(connection, images)
            for table in _OWN:
                for part in _batches(images):
                    counts[table.name] += connection.execute(
                        sa.delete(table).where(_is_of(table, part))
                    ).rowcount
            counts["layouts"] += _take_off_maps(connection, finder.wanted)
            for table, columns in _TEXTS.items():
                counts[table.name] += _rewrite(connection, table, columns, finder, advance)
            for table in _REASONS:
                counts[table.name] += _rewrite_reasons(connection, table, finder)
            rows = {name: count for name, count in sorted(counts.items()) if count}
            details = {"images": len(finder.wanted), "client": who, "rows": rows, **facts}
            connection.execute(entry("patient_removed", None, details))
        return rows


class _Finder:
    """Finds and replaces the ids of images in JSON values.

    :param others: ids of other images, in which no part is replaced
    :param names: of patients, which are replaced too
    """

    def __init__(self, images: Collection[str], others: Iterable[str], names: Collection[str] = ()) -> None:
        self.wanted = set(images)
        self._others = set(others) - self.wanted
        words = self.wanted.union(names, (f"{GROUP}{name}" for name in names))
        self._names = {word: f"{PSEUDONYM}{uuid.uuid4().hex[:12]}" for word in words}
        long = sorted((word for word in words if len(word) >= _MIN_MENTION), key=len, reverse=True)
        ids = "|".join(map(re.escape, long)) or r"(?!)"
        self._mention = re.compile(rf"(?<![\w-])(?<!\d\.)(?:{ids})(?![\w-]|\.\d)")
        quick = (re.escape(json.dumps(word)[1:-1]) for word in sorted(words, key=len, reverse=True))
        self._quick = re.compile("|".join(quick) or r"(?!)")  # in the text of a JSON value

    def name_of(self, image: str) -> str:
        """Return the pseudonym of an image."""
        return self._names[image]

    def is_in(self, texts: Iterable[str | None]) -> bool:
        """Return whether one of these JSON values, as text, tells of an image."""
        found = (json.loads(text) for text in texts if text and self._quick.search(text))
        return any(self.without(value) != value for value in found)

    def without(self, value: Any) -> Any:
        """Return a JSON value without the images: picks are left out, mentions become pseudonyms."""
        if isinstance(value, dict):
            return {
                key if _OUR_KEY.fullmatch(key) else self.text(key): self.without(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.without(item) for item in value if not self._is_pick(item)]
        return self.text(value) if isinstance(value, str) else value

    def text(self, text: str) -> str:
        """Return a text with pseudonyms for the images."""
        if text in self._names:
            return self._names[text]
        if text in self._others:
            return text
        return self._mention.sub(lambda found: self._names[found[0]], text)

    def _is_pick(self, item: Any) -> bool:
        return isinstance(item, dict) and item.get("image") in self.wanted


def _batches(images: Collection[str]) -> Iterable[list[str]]:
    ordered = sorted(images)
    return (ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH))


def _is_of(table: sa.Table, images: list[str]) -> sa.ColumnElement[bool]:
    chosen = table.c.image.in_(images)
    return chosen | table.c.original.in_(images) if "original" in table.c else chosen


def _compare_copies_again(connection: sa.Connection, images: Collection[str]) -> None:
    """Let the duplicates of images that go be compared with the others anew."""
    prints, copies = schema.prints, schema.copies
    for part in _batches(images):
        orphans = sa.select(copies.c.image).where(copies.c.original.in_(part))
        connection.execute(sa.update(prints).where(prints.c.image.in_(orphans)).values(compared=False))


def _take_off_maps(connection: sa.Connection, wanted: set[str]) -> int:
    """Take images off all maps; return the number of maps that had one. A map of these alone is removed."""
    table, changed = schema.layouts, 0
    for number in connection.scalars(sa.select(table.c.id)).all():
        row = connection.execute(sa.select(table).where(table.c.id == number)).one()
        kept = [i for i, image in enumerate(row.images) if image not in wanted]
        if len(kept) == len(row.images):
            continue
        changed += 1
        if not kept:
            connection.execute(sa.delete(schema.placed).where(schema.placed.c.layout == number))
            connection.execute(sa.delete(table).where(table.c.id == number))
            continue
        points = np.frombuffer(row.points, np.float64).reshape(len(row.images), -1)[kept]
        values = {"images": [row.images[i] for i in kept], "marks": [row.marks[i] for i in kept]}
        connection.execute(
            sa.update(table).where(table.c.id == number).values(**values, points=points.tobytes())
        )
    return changed


def _telling(
    connection: sa.Connection,
    table: sa.Table,
    columns: list[sa.Column[Any]],
    finder: _Finder,
    advance: Advance = lambda rows: None,
) -> Iterable[sa.RowMapping]:
    """Yield the rows of a table whose texts tell of an image: its key, and its JSON columns as text."""
    if not columns:
        return
    texts = [sa.cast(column, sa.Text).label(column.name) for column in columns]
    image = [table.c.image] if table is schema.ledger else []
    query = sa.select(*table.primary_key, *image, *texts)
    for row in connection.execute(query, execution_options={"yield_per": _BATCH}).mappings():
        advance(1)
        is_own = bool(image) and row["image"] in finder.wanted
        if is_own or finder.is_in(row[column.name] for column in columns):
            yield row


def _rewrite(
    connection: sa.Connection,
    table: sa.Table,
    columns: list[sa.Column[Any]],
    finder: _Finder,
    advance: Advance,
) -> int:
    """Replace the images in the texts of a table; return the number of rows that had one."""
    telling = list(_telling(connection, table, columns, finder, advance))
    for row in telling:
        texts = {column.name: json.loads(row[column.name]) for column in columns if row[column.name]}
        if table is schema.ledger and row["image"] in finder.wanted:
            kept = {key: texts["details"][key] for key in _KEPT_DETAILS if key in texts["details"]}
            texts = {"details": kept, "image": finder.name_of(row["image"])}
        values = {name: finder.without(text) for name, text in texts.items()}
        this = sa.and_(*(key == row[key.name] for key in table.primary_key))
        connection.execute(sa.update(table).where(this).values(**values))
    return len(telling)


def _rewrite_reasons(connection: sa.Connection, table: sa.Table, finder: _Finder) -> int:
    """Replace the images in what people wrote about others; return the number of rows that named one."""
    rows = connection.execute(sa.select(*table.primary_key, table.c.reason)).mappings().all()
    telling = [row for row in rows if finder.text(row["reason"]) != row["reason"]]
    for row in telling:
        this = sa.and_(*(key == row[key.name] for key in table.primary_key))
        connection.execute(sa.update(table).where(this).values(reason=finder.text(row["reason"])))
    return len(telling)
