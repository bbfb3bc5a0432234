"""The pool's time, which leases are measured with."""

from __future__ import annotations

import time

import sqlalchemy as sa

from pool.database import schema


class Clock:
    """Seconds that never run backwards: the wall's when the process starts, the monotonic clock's from then
    on, and never before what the pool's database has seen. A wall clock that jumps, in either direction,
    changes no lease while the server runs; one that was set back while it was down cannot shorten any.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self, seen: float = 0.0) -> float:
        """The time now, at least `seen`; it goes on from there."""
        now = max(seen, self._offset + time.monotonic())
        self._offset = now - time.monotonic()
        return now

    def tick(self, connection: sa.Connection) -> float:
        """The time of a transaction that hands out."""
        table = schema.clock
        now = self.now(connection.scalar(sa.select(table.c.now).with_for_update()) or 0.0)
        connection.execute(sa.update(table).values(now=now))
        return now
