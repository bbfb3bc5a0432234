"""Hand-outs with leases, and skipped images. Each method is one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.clock import Clock
from pool.database.database import Database, entries, entry

DOUBLE_CLICK = 2.0  # seconds within which a client gets the same image again
_FRESH = 0.9  # of a lease's length: one with more left is not renewed at each request
_BATCH_CANDIDATES = 64  # candidates looked up together


class HandoutError(ValueError):
    """A release, skip or unskip that is not possible; the text says why."""


@dataclass(frozen=True)
class Client:
    """The client of a request. Unnamed clients cannot be told apart: each request counts as a new person.

    :param resumes: gets an image of its own again, if it has one, whenever it asks
    """

    name: str
    named: bool = True
    resumes: bool = False


@dataclass(frozen=True)
class LeasePolicy:
    """The duration of a lease, and the number of images a client may hold.

    :param settle_seconds: time for which a labelled image is held back, until all servers know its label
    """

    lease_seconds: float = 3600.0
    max_open: int = 5
    settle_seconds: float = 0.0


@dataclass(frozen=True)
class Handout:
    """An image leased to a client. Times are seconds on the pool's clock.

    :param again: why it is handed out again ("double click", "resumed", "max_open"), or None
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
    """Leases and skips of one pool. A unique index allows only one open lease per image."""

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
        """Lease the first free candidate, or give a named client one of its own again; None without any.

        :param source: the plan or ranking of the candidates, which are ordered best first
        :param is_open: whether the datastore holds the image without a label
        :param selection_of: details of an image for the answer; stored with the hand-out
        :param resume: return the client's oldest open hand-out, if any
        :param moved_on: the client just released or skipped an image, so this is not a double click
        """
        with self._db.begin() as connection:
            now = self._clock.tick(connection)
            _expire_leases(connection, now)
            own_leases = self._open_leases_of(connection, client, now, is_open) if client.named else []
            if again := _own_image_again(own_leases, now, policy, resume or client.resumes, moved_on):
                return again
            since = now - policy.settle_seconds if policy.settle_seconds else None
            image = self._first_free(connection, candidates, is_open, since)
            if image is not None:
                return _lease(connection, image, source, client, now, policy, selection_of(image))
            return None

    def _open_leases_of(
        self, connection: sa.Connection, client: Client, now: float, is_open: Callable[[str], bool]
    ) -> list[Handout]:
        """Return the client's open hand-outs, oldest first; close those labelled or removed unnoticed."""
        rows = connection.execute(_open_leases().where(schema.handouts.c.client == client.name)).all()
        for row in rows:
            if not is_open(row.image):
                _end_leases(connection, [row], "closed", now, client.name)
        return [_to_handout(row) for row in rows if is_open(row.image)]

    def _first_free(
        self,
        connection: sa.Connection,
        candidates: Iterable[str],
        is_open: Callable[[str], bool],
        since: float | None,
    ) -> str | None:
        remaining = iter(candidates)
        while batch := list(islice(remaining, _BATCH_CANDIDATES)):
            unavailable = _unavailable(connection, batch, since)
            if image := next((image for image in batch if image not in unavailable and is_open(image)), None):
                return image
        return None

    # one image's lease --------------------------------------------------------------------------------

    def renew(self, image: str, client: Client, policy: LeasePolicy) -> float:
        """Extend a client's lease; return its seconds. Raises HandoutError when this client has none."""
        table = schema.handouts
        with self._db.begin() as connection:
            now = self._clock.tick(connection)
            _expire_leases(connection, now)
            rows = _lease_of(connection, image, client)
            if not rows:
                raise HandoutError(f"the lease of {image} has ended; it may be handed out to somebody else")
            expires = max(rows[0].expires, now + policy.lease_seconds)
            connection.execute(sa.update(table).where(table.c.id == rows[0].id).values(expires=expires))
            return float(expires - now)

    def touch(self, image: str, client: Client, policy: LeasePolicy) -> None:
        """Extend a client's lease if it holds the image; without a write while most of the lease is left."""
        table = schema.handouts.c
        mine = _open_leases(table.expires).where(table.image == image, table.client == client.name)
        left = [row.expires - self.now() for row in self._db.read(mine)]
        if left and 0 < left[0] < _FRESH * policy.lease_seconds:
            with suppress(HandoutError):  # it has just ended
                self.renew(image, client, policy)

    def take(self, image: str, client: Client, source: str, policy: LeasePolicy) -> float:
        """Lease an image that the client chose itself, or extend its lease; return its seconds.

        Raises HandoutError when another client holds it, or it is skipped or unreadable. The lease of one
        without a name is nobody's own, so it is not given to another such client.
        """
        with self._db.begin() as connection:
            now = self._clock.tick(connection)
            _expire_leases(connection, now)
            own = bool(_own_lease_of(connection, image, client))
            if not own and _unavailable(connection, [image], None):
                raise HandoutError(f"{image} is skipped or cannot be read; undo that first")
            if not own:
                reason = {"role": "chosen", "reason": f"Chosen by {client.name}."}
                _lease(connection, image, source, client, now, policy, reason)
        return self.renew(image, client, policy)

    def hand_over(self, former: str, client: str) -> None:
        """Let a client, who has got a name, keep the images that it holds by its former name."""
        table = schema.handouts
        with self._db.begin() as connection:
            held = connection.execute(_open_leases().where(table.c.client == former)).all()
            for row in held:
                connection.execute(sa.update(table).where(table.c.id == row.id).values(client=client))

    # ending a lease -----------------------------------------------------------------------------------

    def labelled(self, image: str, who: str, details: Mapping[str, Any]) -> None:
        """Record a final label, and end the image's lease, whoever holds it."""
        with self._db.begin(durable=True) as connection:
            now = self._clock.tick(connection)
            rows = connection.execute(_open_leases().where(schema.handouts.c.image == image)).all()
            _end_leases(connection, rows, "labelled", now, who)
            connection.execute(entry("label", image, {**details, "client": who}))

    def release(self, image: str, client: Client) -> None:
        """Release an image. Raises HandoutError when this client does not hold it, or has no name."""
        with self._db.begin() as connection:
            now = self._clock.tick(connection)
            _expire_leases(connection, now)
            rows = _own_lease_of(connection, image, client)
            if not rows:
                raise HandoutError(f"{image} is not in the hands of {client.name}, so it cannot be released")
            _end_leases(connection, rows, "released", now, client.name)

    def release_all(self, client: Client) -> list[str]:
        """Release all images of a named client, and return them. Raises HandoutError for an unnamed one."""
        if not client.named:
            raise HandoutError("nobody knows which images are yours: send a client_id with each request")
        with self._db.begin() as connection:
            now = self._clock.tick(connection)
            _expire_leases(connection, now)
            rows = connection.execute(_open_leases().where(schema.handouts.c.client == client.name)).all()
            _end_leases(connection, rows, "released", now, client.name)
        return [row.image for row in rows]

    def skip(self, image: str, client: Client, reason: str, own: bool = False) -> None:
        """Exclude an image from hand-out (undo with `unskip`). Raises HandoutError when another holds it."""
        self.skip_all([image], client, reason, own)

    def skip_all(self, images: Sequence[str], client: Client, reason: str, own: bool = False) -> None:
        """Skip all images, or none. Raises HandoutError when another client holds one.

        It ends the client's leases; those of clients without a name go on, as nobody knows whose they are.

        :param own: leave the skips of other clients as they are; otherwise this skip replaces them
        """
        table = schema.skips
        with self._db.begin(durable=True) as connection:
            now, requested = self._clock.tick(connection), set(images)
            _expire_leases(connection, now)
            leases = [row for row in connection.execute(_open_leases()) if row.image in requested]
            _refuse_leases_of_others(leases, client)
            _end_leases(connection, leases if client.named else [], "skipped", now, client.name)
            others_skips = _skipped_by_others(connection, client) if own else {}
            if not (to_skip := [image for image in images if image not in others_skips]):
                return
            _forget_skips(connection, to_skip)
            facts = {"client": client.name, "reason": reason}
            connection.execute(sa.insert(table), [{"image": i, "created": now, **facts} for i in to_skip])
            connection.execute(*entries("skip", to_skip, facts))

    def unskip(self, image: str, client: Client, own: bool = False) -> None:
        """Undo a skip. Raises HandoutError if the image is not skipped or, with `own`, not by this client."""
        if not self.unskip_all([image], client, own):
            raise HandoutError(f"{image} is not skipped")

    def unskip_all(self, images: Sequence[str], client: Client, own: bool = False) -> list[str]:
        """Undo the skips among these images, and return the images that were skipped.

        :param own: raise HandoutError for an image that another client skipped
        """
        with self._db.begin(durable=True) as connection:
            others_skips = _skipped_by_others(connection, client) if own else {}
            if refused := next((image for image in images if image in others_skips), None):
                raise HandoutError(
                    f"{refused} was skipped by {others_skips[refused]}; a reviewer can undo it"
                )
            skipped = set(connection.scalars(sa.select(schema.skips.c.image)))
            undone = [image for image in images if image in skipped]
            if undone:
                _forget_skips(connection, undone)
                connection.execute(*entries("unskip", undone, {"client": client.name}))
        return undone

    # reading ------------------------------------------------------------------------------------------

    def open(self) -> list[Handout]:
        """Return all leases that have not expired, oldest first."""
        now = self.now()
        return [_to_handout(row) for row in self._db.read(_open_leases()) if row.expires > now]

    def held(self) -> list[str]:
        """Return the images of `open`, without the rest of each row, as every click needs them."""
        table, now = schema.handouts.c, self.now()
        return [
            row.image for row in self._db.read(_open_leases(table.image, table.expires)) if row.expires > now
        ]

    def durations(self) -> list[tuple[str, float]]:
        """Return (client, seconds from hand-out to label) of each labelled hand-out, oldest first."""
        table = schema.handouts.c
        seconds = (table.ended - table.created).label("seconds")
        query = sa.select(table.client, seconds).where(table.outcome == "labelled").order_by(table.id)
        return [(row.client, float(row.seconds)) for row in self._db.read(query)]

    def skipped(self) -> dict[str, str]:
        """Return the skipped images with their reasons."""
        return {row.image: row.reason for row in self._db.read(sa.select(schema.skips))}

    def label_stages(self) -> dict[str, str]:
        """Return the stage in which each image was handed out for its final label; others are left out."""
        table = schema.handouts.c
        stage = table.selection["stage"].as_string().label("stage")
        rows = self._db.read(
            sa.select(table.image, stage).where(table.outcome == "labelled").order_by(table.id)
        )
        return {row.image: row.stage for row in rows if row.stage}

    def now(self) -> float:
        """Return the time on the pool's clock, in seconds."""
        rows = self._db.read(sa.select(schema.clock.c.now))
        return self._clock.now(rows[0].now if rows else 0.0)


def _open_leases(*columns: sa.Column[Any]) -> sa.Select[Any]:
    """Select all open leases, oldest first. Ordered by id alone, SQLite would scan the whole history."""
    table = schema.handouts.c
    query = sa.select(*(columns or table)).where(table.ended.is_(None))
    return query.order_by(table.created, table.id)


def _to_handout(row: sa.Row[Any], again: str | None = None) -> Handout:
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
    inserted = connection.execute(
        sa.insert(schema.handouts).values(image=image, list=source, created=now, **facts)
    )
    connection.execute(entry("handout", image, {"source": source, **facts}))
    assert inserted.inserted_primary_key is not None
    key = inserted.inserted_primary_key[0]
    return Handout(key, image, source, client.name, now, now + policy.lease_seconds, selection)


def _own_image_again(
    own_leases: list[Handout], now: float, policy: LeasePolicy, resume: bool, moved_on: bool
) -> Handout | None:
    """Return the image of the client's own to give instead of a new one, with the reason, or None."""
    if not own_leases:
        return None
    if resume:
        return _with_reason(own_leases[0], "resumed")
    if not moved_on and now - own_leases[-1].created < DOUBLE_CLICK:
        return _with_reason(own_leases[-1], "double click")
    return _with_reason(own_leases[0], "max_open") if len(own_leases) >= policy.max_open else None


def _with_reason(handout: Handout, again: str) -> Handout:
    return Handout(**{**vars(handout), "again": again})


def _unavailable(connection: sa.Connection, images: list[str], since: float | None) -> set[str]:
    """Return the images that are leased, skipped, unreadable, or labelled after `since`."""
    handouts = schema.handouts.c
    queries = [
        sa.select(table.c.image).where(table.c.image.in_(images))
        for table in (schema.handouts, schema.skips, schema.failures)
    ]
    if since is not None:
        queries.append(queries[0].where(handouts.outcome == "labelled", handouts.ended > since))
    queries[0] = queries[0].where(handouts.ended.is_(None))  # has its own index: the history may be long
    return set(connection.scalars(sa.union_all(*queries)))


def _lease_of(connection: sa.Connection, image: str, client: Client) -> list[sa.Row[Any]]:
    """Return the open lease of an image. Raises HandoutError when another client holds it."""
    rows = list(connection.execute(_open_leases().where(schema.handouts.c.image == image)))
    _refuse_leases_of_others(rows, client)
    return rows


def _own_lease_of(connection: sa.Connection, image: str, client: Client) -> list[sa.Row[Any]]:
    """Return the open lease of an image if it is this client's. Raises HandoutError for another's.

    An unnamed client has none of its own: the lease may be that of another who gave no name.
    """
    rows = _lease_of(connection, image, client)
    if rows and not client.named:
        raise HandoutError(
            f"{image} is in the hands of somebody without a name, who cannot be told from you: send a "
            "client_id with each request, or wait until its lease ends"
        )
    return rows


def _refuse_leases_of_others(rows: Iterable[sa.Row[Any]], client: Client) -> None:
    if lease := next((row for row in rows if row.client != client.name), None):
        raise HandoutError(f"{lease.image} is in the hands of {lease.client}; it is free when they are done")


def _skipped_by_others(connection: sa.Connection, client: Client) -> dict[str, str]:
    """Return the images that other clients skipped, with the client."""
    table = schema.skips.c
    rows = connection.execute(sa.select(table.image, table.client).where(table.client != client.name))
    return {row.image: row.client for row in rows}


def _forget_skips(connection: sa.Connection, images: Sequence[str]) -> None:
    delete = sa.delete(schema.skips).where(schema.skips.c.image == sa.bindparam("removed"))
    connection.execute(delete, [{"removed": image} for image in images])


def _expire_leases(connection: sa.Connection, now: float) -> None:
    rows = connection.execute(_open_leases().where(schema.handouts.c.expires <= now)).all()
    _end_leases(connection, rows, "expired", now, None)


def _end_leases(
    connection: sa.Connection, rows: Iterable[sa.Row[Any]], outcome: str, now: float, who: str | None
) -> None:
    table = schema.handouts
    for row in rows:
        connection.execute(sa.update(table).where(table.c.id == row.id).values(ended=now, outcome=outcome))
        connection.execute(
            entry("handout_ended", row.image, {"outcome": outcome, "client": row.client, "by": who})
        )
