"""The append-only ledger: every plan, hand-out, label, model and failure with its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database, entry

HOUR = 3600.0  # seconds in which a client opens an image once
OPENED = "opened"
_OPENINGS = 200  # written at once


class Opening(NamedTuple):
    """An image that was sent to a client at a time, seconds since the epoch; `what` names the part of it."""

    image: str
    client: str
    what: str
    created: float


class Ledger:
    """Appends to the ledger, and reads it."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, event: str, image: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        """Append an entry."""
        self._db.write(entry(event, image, details or {}))

    def entries(self) -> list[dict[str, Any]]:
        """Return all entries, oldest first."""
        rows = self._db.read(sa.select(schema.ledger).order_by(schema.ledger.c.id))
        return [dict(row._mapping) for row in rows]

    def newest_id(self) -> int:
        """Return the id of the newest entry, 0 if there is none; it changes whenever something happens.

        That somebody opens an image changes nothing.
        """
        table = schema.ledger.c
        rows = self._db.read(
            sa.select(table.id).where(table.event != OPENED).order_by(table.id.desc()).limit(1)
        )
        return int(rows[0].id) if rows else 0

    def add_openings(self, openings: Sequence[Opening]) -> int:
        """Append who opened which image, once an hour; return the number of entries that were new."""
        table, added = schema.ledger, 0
        client = table.c.details["client"].as_string().label("client")
        for start in range(0, len(openings), _OPENINGS):  # others write in between
            part, rows = openings[start : start + _OPENINGS], list[dict[str, Any]]()
            since = min(opening.created for opening in part) // HOUR * HOUR
            images = {opening.image for opening in part}
            recent = sa.select(table.c.image, table.c.created, client).where(
                table.c.image.in_(images), table.c.event == OPENED, table.c.created >= since
            )
            with self._db.begin() as connection:
                known = {(row.image, row.client, row.created // HOUR) for row in connection.execute(recent)}
                for opening in part:
                    key = (opening.image, opening.client, opening.created // HOUR)
                    if key not in known:
                        known.add(key)
                        facts = {"client": opening.client, "what": opening.what}
                        row = {"image": opening.image, "created": opening.created}
                        rows.append({**row, "event": OPENED, "details": facts})
                if rows:
                    connection.execute(sa.insert(table), rows)
            added += len(rows)
        return added

    def count(self) -> int:
        """Return the number of entries."""
        return int(self._db.read(sa.select(sa.func.count()).select_from(schema.ledger))[0][0])

    def image_history(self, image: str) -> list[dict[str, Any]]:
        """Return the entries of one image, oldest first: id, created, event, details."""
        table = schema.ledger.c
        query = sa.select(table.id, table.created, table.event, table.details).where(table.image == image)
        return [dict(row._mapping) for row in self._db.read(query.order_by(table.id))]

    def labels(self) -> list[tuple[str, str, float]]:
        """Return (image, client, time) of every final label, oldest first."""
        table = schema.ledger.c
        details = [table.details[name].as_string().label(name) for name in ("client", "tag")]
        query = sa.select(table.image, table.created, *details).where(table.event == "label")
        rows = self._db.read(query.order_by(table.id))  # a label with a tag is not final
        return [(row.image, row.client or "anonymous", row.created) for row in rows if row.tag is None]

    def has_save(self, image: str, key: str) -> bool:
        """Tell whether the save of a label with this key has its entry."""
        table = schema.ledger.c
        query = sa.select(table.id).where(table.image == image, table.event == "label")
        return bool(self._db.read(query.where(table.details["save"].as_string() == key)))

    def label_digests(self) -> dict[str, str | None]:
        """Return {image: digest of its newest final label}: "" if that is empty, None if none was noted."""
        table = schema.ledger.c
        details = [table.details[name].as_string().label(name) for name in ("digest", "tag")]
        query = sa.select(table.image, *details).where(table.event == "label")
        rows = self._db.read(query.order_by(table.id))
        return {row.image: row.digest for row in rows if row.tag is None}

    def count_labels(self, since: float) -> int:
        """Return the number of final labels saved after a time, seconds since the epoch."""
        table = schema.ledger.c
        query = sa.select(sa.func.count()).where(table.event == "label", table.created > since)
        return int(self._db.read(query.where(table.details["tag"].as_string().is_(None)))[0][0])

    def heads(self) -> list[tuple[int, float | None, float]]:
        """Return (labels, cross-validated Dice, time) of every instant head, oldest first."""
        table = schema.ledger.c
        query = sa.select(table.details, table.created).where(table.event == "head").order_by(table.id)
        rows = self._db.read(query)
        return [(row.details["n_labels"], row.details["facts"].get("dice"), row.created) for row in rows]

    def given_before(self, entry: int) -> tuple[set[str], set[str]]:
        """Return the images labelled, and those handed out and not given back, before an entry."""
        table = schema.ledger.c
        kinds = ("handout", "handout_ended", "label")
        query = sa.select(table.image, table.event, table.details["outcome"].as_string().label("outcome"))
        labelled, leased = set[str](), set[str]()
        for row in self._db.read(query.where(table.id < entry, table.event.in_(kinds)).order_by(table.id)):
            if row.event == "handout":
                leased.add(row.image)
            else:
                leased.discard(row.image)
            if row.event == "label" or row.outcome == "labelled":
                labelled.add(row.image)
        return labelled, leased - labelled
