"""The gate: checks that every request passes before MONAI Label's application sees it.

Starlette accepts no middleware after its start, which precedes the loading of an app, but its stack can be
replaced. Order of checks: host and origin, user, route and role, query parameters, body.
"""

from __future__ import annotations

import email.message
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bundle_configs.parameters import unknown
from server.desk.readers import remember_cookie
from server.http.access import Access, require
from server.http.bodies import Body, read_json, replayed
from server.http.origins import Origins
from server.http.table import OPEN, Row, rows_of

_MAX_QUERY = 64  # names and values
_LABELS = (
    "/datastore/label",
    "/selection/image/{image:path}/label",
)  # what somebody has drawn is always taken
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    # for everything but our own pages: nothing runs, and nothing may be framed
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
}


class Gate:
    """An ASGI application in front of another.

    :param queries: names of the query parameters of each route, by (method, path)
    :param loss: says why the pool's state cannot be used any more, else ""; then only labels are taken
    :param allowed: features turned on by `--conf allow`
    :param prefix: prefix of all paths (MONAI_LABEL_API_STR)
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Origins,
        access: Access,
        queries: Mapping[tuple[str, str], Collection[str]],
        loss: Callable[[], str],
        allowed: Collection[str] = (),
        prefix: str = "",
    ) -> None:
        self._app, self._origins, self._access = app, origins, access
        self._queries, self._allowed, self._prefix, self._loss = queries, allowed, prefix, loss

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":  # no route uses WebSockets
            return await send({"type": "websocket.close", "code": 1008})
        row: Row | None = None
        headers = Headers(scope=scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message, row)
            await send(message)

        body = Body(receive, headers.get("content-length"))
        try:
            row = await self._admit(scope, headers)
            body.limit = row.limit
            start = await _read_checked(body, row) if row.json or row.limit == 0 else None
        except HTTPException as error:
            await body.drop()
            answer = JSONResponse({"detail": error.detail}, error.status_code, error.headers)
            return await answer(scope, receive, guarded)
        await self._app(scope, body.receive if start is None else replayed(start, body.receive), guarded)

    async def _admit(self, scope: Scope, headers: Headers) -> Row:
        """Check a request before its body, and return its row. Raises HTTPException 400 to 405, 422, 503."""
        self._origins.check(scope["method"], headers)
        remember_cookie(headers.get("cookie", ""))
        path = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix(self._prefix)
        alternative = path[:-1] if path.endswith("/") else f"{path}/"  # the application redirects there
        rows = rows_of(path) or rows_of(alternative)
        row = next((row for row in rows if row.method == scope["method"]), None)
        if row is None or row.role != OPEN:
            await self._access.sign_in(headers)
        if row is None and rows:
            allowed = ", ".join(sorted(candidate.method for candidate in rows))
            raise HTTPException(405, f"{path} takes {allowed}", {"Allow": allowed})
        if row is None:
            raise HTTPException(404, f"there is no {path[:200]!r} on this server")
        require(row.role, f"{row.method} {row.path}")
        if row.off and row.off not in self._allowed:
            raise HTTPException(403, f"{row.method} {row.path} is off; --conf allow {row.off} turns it on")
        if row.role != OPEN and row.path not in _LABELS and (loss := self._loss()):
            raise HTTPException(503, loss)
        self._check_query(row, scope["query_string"])
        _check_charset(headers.get("content-type", ""))
        return row

    def _check_query(self, row: Row, query: bytes) -> None:
        try:
            names = [name for name, _ in parse_qsl(query.decode("latin-1"), True, max_num_fields=_MAX_QUERY)]
        except ValueError:
            raise HTTPException(400, f"the query has more than {_MAX_QUERY} values") from None
        parameters = self._queries.get((row.method, row.path), ())
        for name in names:
            if not row.any_query and name not in parameters:
                raise HTTPException(422, unknown(name, parameters, f"value in the query of {row.path}"))


def _check_charset(content_type: str) -> None:
    """Require UTF-8: other codecs of Python may take minutes per megabyte. Raises HTTPException 415."""
    message = email.message.Message()
    message["content-type"] = content_type.replace("\n", " ")
    charset = str(message.get_param("charset", "utf-8")).lower()
    if charset not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise HTTPException(415, f"send text as UTF-8, not as {charset[:40]!r}")


async def _read_checked(body: Body, row: Row) -> bytes:
    """Read and check the whole body of a route that takes JSON or no body. Raises 400, 408, 413, 422."""
    content = await body.content()
    if row.json and content:
        read_json(content)
    return content


def _add_headers(message: Message, row: Row | None) -> None:
    headers: Any = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if row is None or not row.cached:
        headers["Cache-Control"] = "no-store"
