"""Checks of final labels: which files were read, and why some do not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entries
from pool.label_states import CONFIRMED
from pool.protocol import LabelCheck, PoolStore


class NewCheck(NamedTuple):
    """The check of one image's final label, as it is stored.

    :param fingerprint: of the label's file and its image's
    :param reason: why the label does not count; "" for a good one
    :param state: one of `pool.label_states`, "" for a label that was found
    :param digest: from `pool.imaging.digests.label_digest`
    """

    image: str
    fingerprint: str
    reason: str = ""
    state: str = ""
    digest: str = ""


class LabelChecks:
    """The newest check of each image's final label."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def fingerprints(self) -> dict[str, str]:
        """Return the checked files: {image: fingerprint}."""
        table = schema.label_checks
        return {
            row.image: row.fingerprint for row in self._db.read(sa.select(table.c.image, table.c.fingerprint))
        }

    def newest(self) -> int:
        """Return the number of the newest check, 0 before the first."""
        return self._db.read(sa.select(sa.func.max(schema.label_checks.c.id)))[0][0] or 0

    def good_since(self, number: int) -> list[str]:
        """Return the images whose labels were checked after a check of this number, and count."""
        table = schema.label_checks
        rows = self._db.read(sa.select(table.c.image).where(table.c.id > number, table.c.reason == ""))
        return [row.image for row in rows]

    def news(self, store: PoolStore) -> list[LabelCheck]:
        """Return the checks that a datastore has not taken in, oldest first.

        Also those of labels that it waits for, which it may have learned of after their check.
        """
        waiting, newest, table = store.unchecked_labels, store.newest_check, schema.label_checks
        number = 0 if waiting else newest
        rows = self._db.read(sa.select(table).where(table.c.id > number).order_by(table.c.id))
        checks = [LabelCheck(row.id, row.image, row.fingerprint, row.reason, row.state) for row in rows]
        return [check for check in checks if check.number > newest or check.image in waiting]

    def with_digest(self, digest: str) -> dict[str, str]:
        """Return the images whose checked label has a digest: {image: fingerprint}."""
        table = schema.label_checks.c
        query = sa.select(table.image, table.fingerprint).where(table.digest == digest).order_by(table.id)
        return {row.image: row.fingerprint for row in self._db.read(query)}

    def add(self, checks: Sequence[NewCheck]) -> None:
        """Store checks of labels; one that does not count gets a ledger entry."""
        table, rows = schema.label_checks, [check._asdict() for check in checks]
        with self._db.begin(durable=any(check.state for check in checks)) as connection:
            connection.execute(sa.delete(table).where(table.c.image.in_([row["image"] for row in rows])))
            connection.execute(sa.insert(table), rows)
            for row in rows:
                if row["reason"]:
                    connection.execute(*entries("label_refused", [row["image"]], {"reason": row["reason"]}))

    def confirm(self, image: str, fingerprint: str, who: str) -> None:
        """Let a label count that waited to be confirmed, since somebody has looked at it."""
        table = schema.label_checks
        with self._db.begin(durable=True) as connection:
            digest = connection.scalar(sa.select(table.c.digest).where(table.c.image == image)) or ""
            row = NewCheck(image, fingerprint, state=CONFIRMED, digest=digest)._asdict()
            connection.execute(sa.delete(table).where(table.c.image == image))
            connection.execute(sa.insert(table).values(**row))
            connection.execute(*entries("label_confirmed", [image], {"client": who}))
