"""Identity of the client that asks for the next image."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pool.database.handouts import Client

# set for each request by `server.http.access` when authentication is on
current_user: ContextVar[str | None] = ContextVar("current_user", default=None)
is_reviewer: ContextVar[bool] = ContextVar("is_reviewer", default=True)  # may undo the skips of others


def client_of(request: Mapping[str, Any]) -> Client:
    """Return the authenticated user, else the request's `client_id`, else an anonymous client."""
    name = plain_text(current_user.get() or request.get("client_id") or "").strip()
    return Client(name) if name else Client("anonymous", named=False)


def plain_text(value: Any) -> str:
    """Return a client's text without NUL and lone surrogates, which some databases cannot store."""
    return str(value).encode("utf-8", "replace").decode().replace("\0", "")
