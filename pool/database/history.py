"""What happened to single images, and what every image's label came from."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database


class History:
    """Reads the ledger and the hand-outs of one pool; it writes nothing."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def newest(self) -> int:
        """Number of the ledger's newest entry, 0 without any: what tells that something happened."""
        return int(self._db.read(sa.select(sa.func.max(schema.ledger.c.id)))[0][0] or 0)

    def of_image(self, image: str) -> list[dict[str, Any]]:
        """The ledger's entries on one image, oldest first: id, created, event, details."""
        table = schema.ledger.c
        query = sa.select(table.id, table.created, table.event, table.details).where(table.image == image)
        return [dict(row._mapping) for row in self._db.read(query.order_by(table.id))]

    def label_stages(self) -> dict[str, str]:
        """The stage in which each image was handed out for its final label; others have none."""
        table = schema.handouts.c
        stage = table.selection["stage"].as_string().label("stage")
        rows = self._db.read(
            sa.select(table.image, stage).where(table.outcome == "labelled").order_by(table.id)
        )
        return {row.image: row.stage for row in rows if row.stage}

    def plan_before(self, key: str, moment: float) -> int | None:
        """Number of the plan that was the newest under a key at a time (seconds, as `time.time`), or None."""
        table = schema.plans.c
        query = sa.select(sa.func.max(table.id)).where(table.key == key, table.created <= moment)
        return self._db.read(query)[0][0]

    def given_before(self, entry: int) -> list[str]:
        """Images labelled, or handed out and not given back, before an entry of the ledger; sorted."""
        table = schema.ledger.c
        kinds = ("handout", "handout_ended", "label")
        query = sa.select(table.image, table.event, table.details["outcome"].as_string().label("outcome"))
        labelled, held = set[str](), set[str]()
        for row in self._db.read(query.where(table.id < entry, table.event.in_(kinds)).order_by(table.id)):
            if row.event == "handout":
                held.add(row.image)
            else:
                held.discard(row.image)
            if row.event == "label" or row.outcome == "labelled":
                labelled.add(row.image)
        return sorted(labelled | held)
