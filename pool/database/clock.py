"""The pool's clock, against which leases are measured."""

from __future__ import annotations

import time

import sqlalchemy as sa

from pool.database import schema


class Clock:
    """A clock in seconds that never runs backwards.

    It starts at wall time, continues with the monotonic clock, and is never behind the time stored in the
    pool's database. So a jump of the wall clock, in either direction, changes no lease while the server runs,
    and setting it back while the server is down cannot shorten one.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self, seen: float = 0.0) -> float:
        """Return the current time, at least `seen`, and continue from there."""
        now = max(seen, self._offset + time.monotonic())
        self._offset = now - time.monotonic()
        return now

    def tick(self, connection: sa.Connection) -> float:
        """Return the time for a transaction on leases, and store it in the database."""
        table = schema.clock
        now = self.now(connection.scalar(sa.select(table.c.now).with_for_update()) or 0.0)
        connection.execute(sa.update(table).values(now=now))
        return now
