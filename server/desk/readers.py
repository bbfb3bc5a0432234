"""The reader at a browser: known by a random cookie, and by a name that is asked once.

The gate puts the cookie where the request's own tasks and threads see it; a thread that needs the name asks
the database. Where users sign in, the user counts and the cookie is ignored.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from fastapi import HTTPException, Request, Response
from starlette.requests import cookie_parser

from pool.database.handouts import Client
from strategies.identity import DEFAULT_NAMES, client_of, current_reader, current_user, plain_text

COOKIE = "scan_selection_reader"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
_MAX_AGE = 400 * 24 * 3600  # seconds; browsers keep none for longer
_MAX_NAME = 100
_NOT_A_NAME = re.compile(r"browser [0-9a-f]+", re.IGNORECASE)  # shown for a browser without a name
_token: ContextVar[str] = ContextVar("reader_token", default="")


def remember_cookie(header: str) -> None:
    """Keep the reader's cookie for the request's own task, given its Cookie header."""
    remember_token(cookie_parser(header).get(COOKIE, ""))


def remember_token(token: str) -> None:
    """Keep a browser's token for the rest of the request; one that is none of ours counts as none."""
    _token.set(token if _TOKEN.fullmatch(token) else "")


def asking() -> str:
    """Return what tells the sender of the present request apart without the database; "" for nobody."""
    user = current_user.get()
    return _token.get() if user is None else f"user {user}"


def give_cookie(response: Response, request: Request) -> str:
    """Set the cookie of a browser that has none yet; return the browser's token."""
    if token := _token.get():
        return token
    token = secrets.token_urlsafe(24)
    is_secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, _MAX_AGE, httponly=True, samesite="lax", secure=is_secure)
    return token


@contextmanager
def known_reader(app: Any) -> Iterator[None]:
    """Let the block know the reader whose browser sent the request, if one did."""
    token = _token.get() if current_user.get() is None else ""
    with app.database_errors():
        name = app.state.readers.of(token).shown if token else None
    reset = current_reader.set(name)
    try:
        yield
    finally:
        current_reader.reset(reset)


def client_here(app: Any, client_id: str = "") -> Client:
    """Return the client of the present request. Raises PoolError 503."""
    with known_reader(app):
        return client_of({"client_id": client_id})


def rename(app: Any, token: str, name: str) -> None:
    """Give a browser's reader a name. Raises HTTPException 422."""
    plain = " ".join(plain_text(name).split())
    if plain.lower() in DEFAULT_NAMES or _NOT_A_NAME.fullmatch(plain) or len(plain) > _MAX_NAME:
        raise HTTPException(
            422, f"{plain[:_MAX_NAME]!r} tells nobody apart: give your own name, up to {_MAX_NAME} characters"
        )
    with app.database_errors():
        before = app.state.readers.of(token)
        app.state.readers.rename(token, plain)
        if not before.name:  # what the browser holds is this person's; a name may be at other browsers, too
            app.state.handouts.hand_over(before.shown, plain)
            app.state.drafts.hand_over(before.shown, plain)


def describe(app: Any) -> dict[str, Any]:
    """Return who sends the request: kind (named, browser, nobody), name and whether a user signed in."""
    client, is_user = client_here(app), current_user.get() is not None
    has_name = client.named and not _NOT_A_NAME.fullmatch(client.name)
    kind = "named" if is_user or has_name else "browser" if client.named else "nobody"
    return {"kind": kind, "name": client.name if client.named else "unnamed", "authenticated": is_user}
