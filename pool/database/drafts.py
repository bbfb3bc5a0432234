"""Drafts: labels that somebody is drawing, one per client and image."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pool.database import schema
from pool.database.database import Database
from pool.errors import PoolError
from pool.files import cannot_write, make_folder, write_atomically

MAX_DRAFT = 64 * 2**20  # bytes of one, compressed
MAX_OF_CLIENT = 100  # drafts; the oldest make room
MAX_BYTES = 4 * 2**30  # of all drafts of the pool
_ORPHAN_SECONDS = 3600.0  # a file without a row may belong to a save that is under way
_NAME = re.compile(r"[0-9a-f]{32}\.draft")


@dataclass(frozen=True)
class Draft:
    """A draft: the mask as the client sent it, and what it noted beside it."""

    content: bytes
    details: dict[str, Any]
    updated: float


class Drafts:
    """The drafts of one pool: files in `folder`, and a row for each.

    Every save writes a new file before its row, so that a kill leaves the former draft.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._db, self._folder = database, folder

    def save(self, client: str, image: str, content: bytes, details: Mapping[str, Any]) -> None:
        """Replace a client's draft of an image.

        Raises PoolError: 413 for one that is too large, 507 when it cannot be written or the pool has too
        many.
        """
        table = schema.drafts
        if len(content) > MAX_DRAFT:
            raise PoolError(413, f"a draft may have {MAX_DRAFT >> 20} MiB; submit the label, or compress it")
        file = f"{uuid.uuid4().hex}.draft"
        try:
            make_folder(self._folder)
            write_atomically(self._folder / file, content)
        except OSError as error:
            raise cannot_write(f"draft for {image}", error) from error
        row = {"client": client, "image": image, "file": file, "size": len(content)}
        own = sa.select(table).where(table.c.client == client).order_by(table.c.updated.desc())
        try:
            with self._db.begin() as connection:
                rows = connection.execute(own).all()
                former = [old for old in rows if old.image == image]
                former += [old for old in rows if old.image != image][MAX_OF_CLIENT - 1 :]
                self._remove_rows(connection, former)
                if (connection.scalar(sa.select(sa.func.sum(table.c.size))) or 0) + len(content) > MAX_BYTES:
                    raise PoolError(507, "the drafts of this pool fill their room; submit or discard some")
                connection.execute(sa.insert(table).values(**row, details=dict(details), updated=time.time()))
        except BaseException:
            (self._folder / file).unlink(missing_ok=True)
            raise
        self._remove_files(old.file for old in former)

    def get(self, client: str, image: str) -> Draft | None:
        """Return a client's draft of an image, or None."""
        table = schema.drafts.c
        query = sa.select(schema.drafts).where(table.client == client, table.image == image)
        for row in self._db.read(query):
            with suppress(FileNotFoundError):  # replaced a moment ago, or written by a server elsewhere
                return Draft((self._folder / row.file).read_bytes(), dict(row.details), row.updated)
        return None

    def images_of(self, client: str) -> list[str]:
        """Return the images of which a client has a draft, the newest first."""
        table = schema.drafts.c
        query = sa.select(table.image).where(table.client == client).order_by(table.updated.desc())
        return [row.image for row in self._db.read(query)]

    def remove(self, client: str, image: str) -> bool:
        """Remove a client's draft of an image; return whether there was one."""
        table = schema.drafts
        query = sa.select(table).where(table.c.client == client, table.c.image == image)
        if not self._db.read(query):
            return False
        with self._db.begin() as connection:
            rows = list(connection.execute(query).all())
            self._remove_rows(connection, rows)
        self._remove_files(row.file for row in rows)
        return bool(rows)

    def remove_images(self, images: Sequence[str]) -> int:
        """Remove everybody's drafts of images; return their number."""
        table, rows = schema.drafts, list[sa.Row[Any]]()
        with self._db.begin(durable=True) as connection:
            for image in images:
                rows += connection.execute(sa.select(table).where(table.c.image == image)).all()
            self._remove_rows(connection, rows)
        self._remove_files(row.file for row in rows)
        return len(rows)

    def hand_over(self, former: str, client: str) -> None:
        """Give a client, who has got a name, the drafts of its former name; its own of that name stay."""
        table, own = schema.drafts, set(self.images_of(client))
        moved = [image for image in self.images_of(former) if image not in own]
        if moved:
            rows = sa.update(table).where(table.c.client == former, table.c.image.in_(moved))
            self._db.write(rows.values(client=client))

    def clean(self) -> None:
        """Remove rows without a file, as in a restored backup, and files of saves killed before their row."""
        table, known = schema.drafts.c, set[str]()
        for row in self._db.read(sa.select(table.file)):
            known.add(row.file)
            if not (self._folder / row.file).exists():
                self._db.write(sa.delete(schema.drafts).where(table.file == row.file))
        for path in list(self._folder.iterdir()) if self._folder.is_dir() else []:
            with suppress(FileNotFoundError):
                is_old = time.time() - path.stat().st_mtime > _ORPHAN_SECONDS
                if is_old and path.name not in known and _NAME.fullmatch(path.name):
                    path.unlink()

    @staticmethod
    def _remove_rows(connection: sa.Connection, rows: list[sa.Row[Any]]) -> None:
        table = schema.drafts
        for row in rows:
            connection.execute(
                sa.delete(table).where(table.c.client == row.client, table.c.image == row.image)
            )

    def _remove_files(self, files: Any) -> None:
        for file in files:
            (self._folder / file).unlink(missing_ok=True)
