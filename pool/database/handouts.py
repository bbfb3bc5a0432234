"""Who works on which image: hand-outs with leases, and skips. Each method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.clock import Clock
from pool.database.database import Database, entries, entry

DOUBLE_CLICK = 2.0  # seconds in which the same client is given the same image
_AT_ONCE = 64  # candidates looked up together


class HandoutError(ValueError):
    """A release, skip or unskip that cannot be done; the text says why."""


@dataclass(frozen=True)
class Client:
    """Who asks. Unnamed ones cannot be told apart, so that each of their requests is another person's."""

    name: str
    named: bool = True


@dataclass(frozen=True)
class LeasePolicy:
    """How long an image is a client's, and how many it may hold.

    :param settle_seconds: how long a labelled image is held back, until all servers know of its label
    """

    lease_seconds: float = 3600.0
    max_open: int = 5
    settle_seconds: float = 0.0


@dataclass(frozen=True)
class Handout:
    """An image in somebody's hands. Times in seconds on the pool's clock.

    :param again: why it is given a second time ("double click", "resumed", "max_open"), or None
    """

    id: int
    image: str
    source: str
    client: str
    created: float
    expires: float
    selection: dict[str, Any]
    again: str | None = None


class Handouts:
    """Leases and skips of one pool. The database itself refuses a second open lease of an image."""

    def __init__(self, database: Database) -> None:
        self._db, self._clock = database, Clock()

    def give(
        self,
        client: Client,
        source: str,
        candidates: Iterable[str],
        is_open: Callable[[str], bool],
        selection_of: Callable[[str], dict[str, Any]],
        policy: LeasePolicy,
        resume: bool = False,
        moved_on: bool = False,
    ) -> Handout | None:
        """Lease the first candidate that is nobody's, or give a named client one of its own again.

        :param source: the plan or order that the candidates come from, best first
        :param is_open: whether the image may be given as far as the datastore knows (it is there, unlabelled)
        :param selection_of: what the answer says of an image; kept with the hand-out
        :param resume: give the client's oldest open one, if there is any
        :param moved_on: the client has just released or skipped, so that this is no double click
        :returns: None when no candidate is left
        """
        with self._db.begin() as connection:
            now = self._clock.tick(connection)
            _expire(connection, now)
            mine = self._mine(connection, client, now, is_open) if client.named else []
            if again := _again(mine, now, policy, resume, moved_on):
                return again
            since = now - policy.settle_seconds if policy.settle_seconds else None
            image = self._first_free(connection, candidates, is_open, since)
            if image is None:
                return None
            return _lease(connection, image, source, client, now, policy, selection_of(image))

    def _mine(
        self, connection: sa.Connection, client: Client, now: float, is_open: Callable[[str], bool]
    ) -> list[Handout]:
        """The client's open hand-outs, oldest first; those labelled or removed unnoticed are closed."""
        rows = connection.execute(_open().where(schema.handouts.c.client == client.name)).all()
        for row in rows:
            if not is_open(row.image):
                _end(connection, [row], "closed", now, client.name)
        return [_handout(row) for row in rows if is_open(row.image)]

    def _first_free(
        self,
        connection: sa.Connection,
        candidates: Iterable[str],
        is_open: Callable[[str], bool],
        since: float | None,
    ) -> str | None:
        waiting = iter(candidates)
        while some := list(islice(waiting, _AT_ONCE)):
            taken = _taken(connection, some, since)
            if free := next((image for image in some if image not in taken and is_open(image)), None):
                return free
        return None

    # ends ---------------------------------------------------------------------------------------------

    def labelled(self, image: str, who: str, details: Mapping[str, Any]) -> None:
        """A final label was kept: the lease ends, whoever held it."""
        with self._db.begin() as connection:
            now = self._clock.tick(connection)
            rows = connection.execute(_open().where(schema.handouts.c.image == image)).all()
            _end(connection, rows, "labelled", now, who)
            connection.execute(entry("label", image, {**details, "client": who}))

    def release(self, image: str, client: Client) -> None:
        """Give an image back. Raises HandoutError when this client does not hold it."""
        with self._db.begin() as connection:
            now = self._clock.tick(connection)
            _expire(connection, now)
            rows = _held(connection, image, client)
            if not rows:
                raise HandoutError(f"{image} is not in the hands of {client.name}, so it cannot be released")
            _end(connection, rows, "released", now, client.name)

    def skip(self, image: str, client: Client, reason: str, own: bool = False) -> None:
        """Hand an image out to nobody until it is unskipped. Raises HandoutError when another holds it."""
        self.skip_all([image], client, reason, own)

    def skip_all(self, images: Sequence[str], client: Client, reason: str, own: bool = False) -> None:
        """Skip all of them, or none. Raises HandoutError when another holds one.

        :param own: leave the skips of others as they are; else this one replaces them
        """
        table = schema.skips
        with self._db.begin() as connection:
            now, wanted = self._clock.tick(connection), set(images)
            _expire(connection, now)
            held = [row for row in connection.execute(_open()) if row.image in wanted]
            _refuse_others(held, client)
            _end(connection, held, "skipped", now, client.name)
            kept = _skipped_by_others(connection, client) if own else {}
            if not (new := [image for image in images if image not in kept]):
                return
            _forget_skips(connection, new)
            who = {"client": client.name, "reason": reason}
            connection.execute(sa.insert(table), [{"image": i, "created": now, **who} for i in new])
            connection.execute(*entries("skip", new, who))

    def unskip(self, image: str, client: Client, own: bool = False) -> None:
        """Undo a skip. Raises HandoutError when the image is not skipped, or, with `own`, by another."""
        if not self.unskip_all([image], client, own):
            raise HandoutError(f"{image} is not skipped")

    def unskip_all(self, images: Sequence[str], client: Client, own: bool = False) -> list[str]:
        """Undo the skips among these images, and return which those were.

        :param own: only what this client skipped; raises HandoutError for what another did
        """
        with self._db.begin() as connection:
            theirs = _skipped_by_others(connection, client) if own else {}
            if refused := next((image for image in images if image in theirs), None):
                raise HandoutError(f"{refused} was skipped by {theirs[refused]}; a reviewer can undo it")
            skipped = set(connection.scalars(sa.select(schema.skips.c.image)))
            undone = [image for image in images if image in skipped]
            if undone:
                _forget_skips(connection, undone)
                connection.execute(*entries("unskip", undone, {"client": client.name}))
        return undone

    # looking ------------------------------------------------------------------------------------------

    def open(self) -> list[Handout]:
        """All leases that have not run out, oldest first."""
        now = self.now()
        return [_handout(row) for row in self._db.read(_open()) if row.expires > now]

    def held(self) -> list[str]:
        """Images in somebody's hands: what `open` says, without the rest, for every click."""
        table, now = schema.handouts.c, self.now()
        return [row.image for row in self._db.read(_open(table.image, table.expires)) if row.expires > now]

    def durations(self) -> list[tuple[str, float]]:
        """Who had an image for how many seconds until its label came, oldest first."""
        table = schema.handouts.c
        seconds = (table.ended - table.created).label("seconds")
        query = sa.select(table.client, seconds).where(table.outcome == "labelled").order_by(table.id)
        return [(row.client, float(row.seconds)) for row in self._db.read(query)]

    def skipped(self) -> dict[str, str]:
        """Skipped images with the reason."""
        return {row.image: row.reason for row in self._db.read(sa.select(schema.skips))}

    def label_stages(self) -> dict[str, str]:
        """The stage in which each image was handed out for its final label; others have none."""
        table = schema.handouts.c
        stage = table.selection["stage"].as_string().label("stage")
        rows = self._db.read(
            sa.select(table.image, stage).where(table.outcome == "labelled").order_by(table.id)
        )
        return {row.image: row.stage for row in rows if row.stage}

    def now(self) -> float:
        """Seconds on the pool's clock."""
        rows = self._db.read(sa.select(schema.clock.c.now))
        return self._clock.now(rows[0].now if rows else 0.0)


def _open(*columns: sa.Column[Any]) -> sa.Select[Any]:
    """All leases, oldest first. Ordered by the id alone, SQLite would walk the whole history for them."""
    table = schema.handouts.c
    query = sa.select(*(columns or table)).where(table.ended.is_(None))
    return query.order_by(table.created, table.id)


def _handout(row: sa.Row[Any], again: str | None = None) -> Handout:
    return Handout(
        row.id, row.image, row.list, row.client, row.created, row.expires, dict(row.selection), again
    )


def _lease(
    connection: sa.Connection,
    image: str,
    source: str,
    client: Client,
    now: float,
    policy: LeasePolicy,
    selection: dict[str, Any],
) -> Handout:
    facts = {"client": client.name, "expires": now + policy.lease_seconds, "selection": selection}
    done = connection.execute(
        sa.insert(schema.handouts).values(image=image, list=source, created=now, **facts)
    )
    connection.execute(entry("handout", image, {"source": source, **facts}))
    assert done.inserted_primary_key is not None
    key = done.inserted_primary_key[0]
    return Handout(key, image, source, client.name, now, now + policy.lease_seconds, selection)


def _again(
    mine: list[Handout], now: float, policy: LeasePolicy, resume: bool, moved_on: bool
) -> Handout | None:
    """One of the client's own images instead of a new one, and why."""
    if not mine:
        return None
    if resume:
        return _because(mine[0], "resumed")
    if not moved_on and now - mine[-1].created < DOUBLE_CLICK:
        return _because(mine[-1], "double click")
    return _because(mine[0], "max_open") if len(mine) >= policy.max_open else None


def _because(handout: Handout, again: str) -> Handout:
    return Handout(**{**vars(handout), "again": again})


def _taken(connection: sa.Connection, images: list[str], since: float | None) -> set[str]:
    """Those of the images that are in somebody's hands, skipped, unreadable, or labelled after `since`."""
    held = schema.handouts.c
    queries = [
        sa.select(table.c.image).where(table.c.image.in_(images))
        for table in (schema.handouts, schema.skips, schema.failures)
    ]
    if since is not None:
        queries.append(queries[0].where(held.outcome == "labelled", held.ended > since))
    queries[0] = queries[0].where(held.ended.is_(None))  # its own index: the history may be long
    return set(connection.scalars(sa.union_all(*queries)))


def _held(connection: sa.Connection, image: str, client: Client) -> list[sa.Row[Any]]:
    """The open lease of an image, if this client's. Raises HandoutError when it is somebody else's."""
    rows = list(connection.execute(_open().where(schema.handouts.c.image == image)))
    _refuse_others(rows, client)
    return rows


def _refuse_others(rows: Iterable[sa.Row[Any]], client: Client) -> None:
    if other := next((row for row in rows if row.client != client.name), None):
        raise HandoutError(f"{other.image} is in the hands of {other.client}; it is free when they are done")


def _skipped_by_others(connection: sa.Connection, client: Client) -> dict[str, str]:
    """Images that others skipped, with who."""
    table = schema.skips.c
    rows = connection.execute(sa.select(table.image, table.client).where(table.client != client.name))
    return {row.image: row.client for row in rows}


def _forget_skips(connection: sa.Connection, images: Sequence[str]) -> None:
    gone = sa.delete(schema.skips).where(schema.skips.c.image == sa.bindparam("gone"))
    connection.execute(gone, [{"gone": image} for image in images])


def _expire(connection: sa.Connection, now: float) -> None:
    rows = connection.execute(_open().where(schema.handouts.c.expires <= now)).all()
    _end(connection, rows, "expired", now, None)


def _end(
    connection: sa.Connection, rows: Iterable[sa.Row[Any]], outcome: str, now: float, who: str | None
) -> None:
    table = schema.handouts
    for row in rows:
        connection.execute(sa.update(table).where(table.c.id == row.id).values(ended=now, outcome=outcome))
        connection.execute(
            entry("handout_ended", row.image, {"outcome": outcome, "client": row.client, "by": who})
        )
