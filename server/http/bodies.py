"""Bodies of requests: bounded in size, time and depth, and JSON as the standard has it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from typing import Any

from fastapi import HTTPException
from starlette.types import Message, Receive

from server.http.table import MiB, size_text

MAX_VALUES = 100_000
_MARKS: dict[type, Any] = {str: (",", "[", "{"), bytes: (b",", b"[", b"{")}  # one before each value, at most
MAX_DEPTH = 32  # of objects and arrays in each other
_IDLE = 30.0  # seconds between two pieces of a body
_GRACE, _SLOWEST = 60.0, 16 * 2**10  # seconds that a body may take, and bytes per second past them
_DRAINED = 64 * MiB  # read and dropped of a body that is too large, so that its sender reads the answer


class Body:
    """The body of one request; `receive` takes the place of the server's own.

    :param declared: what Content-Length says, if it says something
    """

    def __init__(self, receive: Receive, declared: str | None) -> None:
        self.limit = 0  # bytes
        self._receive, self._declared = receive, declared
        self._size, self._started, self._complete = 0, time.monotonic(), False

    async def receive(self) -> Message:
        """The next piece. Raises HTTPException 413 past the limit, 408 for a body that does not come."""
        if self._complete:
            return await self._receive()  # tells when the client goes
        message = await self._piece()
        if self._size > self.limit or self._is_declared_larger():
            await self.drop()
            raise self._too_large()
        return message

    async def drop(self) -> None:
        """Read and forget what comes, within bounds: a sender reads no answer before it has sent."""
        dropped = 0
        with contextlib.suppress(HTTPException):
            while not self._complete and dropped < _DRAINED:
                dropped += len((await self._piece()).get("body", b""))

    async def content(self) -> bytes:
        """All of it. Raises HTTPException 413, 408."""
        parts = []
        while not self._complete:
            parts.append((await self.receive()).get("body", b""))
        return b"".join(parts)

    def _is_declared_larger(self) -> bool:
        text = self._declared or ""
        return text.isascii() and text.isdigit() and int(text) > self.limit

    async def _piece(self) -> Message:
        allowed = min(_IDLE, self._started + _GRACE + self._size / _SLOWEST - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(allowed, 0.0))
        except asyncio.TimeoutError:
            self._complete = True
            raise HTTPException(
                408,
                f"the request's body did not come: {self._size} bytes in "
                f"{time.monotonic() - self._started:.0f} s; send it again over a faster connection",
                headers={"Connection": "close"},
            ) from None
        self._size += len(message.get("body", b""))
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    def _too_large(self) -> HTTPException:
        if self.limit == 0:
            return HTTPException(413, "this request takes no body")
        return HTTPException(413, f"the request is larger than the {size_text(self.limit)} that it may have")


def replayed(content: bytes, receive: Receive) -> Receive:
    """A receive for a body that was read already."""
    pieces: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def again() -> Message:
        return pieces.pop() if pieces else await receive()

    return again


def read_json(text: str | bytes) -> Any:
    """JSON (RFC 8259), at most `MAX_DEPTH` deep. Raises HTTPException 400 for malformed, 422 for NaN."""
    if len(text) > MAX_VALUES and sum(map(text.count, _MARKS[type(text)])) > MAX_VALUES:
        raise HTTPException(413, f"the JSON has more than {MAX_VALUES} values")
    try:
        found = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # of JSON, of UTF-8, and of a number of thousands of digits
        raise HTTPException(400, f"this is no JSON: {error}") from None
    _check(found, MAX_DEPTH - 1)
    return found


def read_object(text: str | None, what: str) -> dict[str, Any]:
    """A JSON object in a field of a form; {} for an empty one. Raises HTTPException 400, 422."""
    found = read_json(text) if text and text.strip() else {}
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise HTTPException(400, f'{what}: expected {{"name": value, ...}}')
    return found


def _no_number(name: str) -> Any:
    raise HTTPException(422, f"{name} is no number that JSON knows")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise HTTPException(422, f"{text[:40]} is too large a number")
    return number


def _check(value: Any, left: int) -> None:
    """Refuse what is too deep, and half characters, which no answer could hold. Raises HTTPException."""
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    if left < 0 and not isinstance(value, str):
        raise _too_deep()
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise HTTPException(400, f"a text in the JSON is no Unicode: {value[:40]!r}") from None
    for one in inner:
        if isinstance(one, dict | list | str):
            _check(one, left - 1)


def _too_deep() -> HTTPException:
    return HTTPException(400, f"the JSON is nested more than {MAX_DEPTH} deep")
