"""Identity of the client that asks for the next image."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pool.database.handouts import Client

# set for each request by `server.http.access` when authentication is on
current_user: ContextVar[str | None] = ContextVar("current_user", default=None)
# the reader whose browser sent the request, set by `server.desk.readers`; None for other clients
current_reader: ContextVar[str | None] = ContextVar("current_reader", default=None)
is_reviewer: ContextVar[bool] = ContextVar("is_reviewer", default=True)  # may undo the skips of others


DEFAULT_NAMES = ("", "none", "anonymous", "user-xyz")  # of clients that were given no name, in lower case


def client_of(request: Mapping[str, Any]) -> Client:
    """Return the authenticated user, else the browser's reader, else the request's `client_id`.

    A name that clients send by default, or none, is an unnamed client.
    """
    if (user := current_user.get()) is not None:
        return Client(plain_text(user))
    if reader := current_reader.get():
        return Client(reader, resumes=True)
    name = plain_text(request.get("client_id") or "").strip()
    return Client("anonymous", named=False) if name.lower() in DEFAULT_NAMES else Client(name)


def plain_text(value: Any) -> str:
    """Return a client's text without NUL and lone surrogates, which some databases cannot store."""
    return str(value).encode("utf-8", "replace").decode().replace("\0", "")
