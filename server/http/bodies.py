"""Request bodies, bounded in size, time and depth, and strict JSON."""

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
# each value has at most one of these before it
_VALUE_MARKS: dict[type, Any] = {str: (",", "[", "{"), bytes: (b",", b"[", b"{")}
MAX_DEPTH = 32  # of nested objects and arrays
_MAX_IDLE = 30.0  # seconds between two pieces of a body
_GRACE, _MIN_RATE = 60.0, 16 * 2**10  # seconds for any body, and the bytes per second required after that
_MAX_DRAINED = 64 * MiB  # of a body too large that is read and dropped, so that its sender reads the answer


class Body:
    """The body of one request; its `receive` replaces the server's own.

    :param declared: the Content-Length header, if there is one
    """

    def __init__(self, receive: Receive, declared: str | None) -> None:
        self.limit = 0  # bytes
        self._receive, self._declared = receive, declared
        self._size, self._complete = 0, False
        self._started: float | None = (
            None  # when the first piece was asked for: perhaps after a long prediction
        )

    async def receive(self) -> Message:
        """Return the next piece. Raises HTTPException 413 past the limit, 408 when the body stalls."""
        if self._complete:
            return await self._receive()  # reports when the client disconnects
        message = await self._piece()
        if self._size > self.limit or self._is_declared_larger():
            await self.drop()
            raise self._too_large()
        return message

    async def drop(self) -> None:
        """Read and discard the rest, within bounds: clients read the answer only after sending everything."""
        dropped = 0
        with contextlib.suppress(HTTPException):
            while not self._complete and dropped < _MAX_DRAINED:
                dropped += len((await self._piece()).get("body", b""))

    async def content(self) -> bytes:
        """Return the whole body. Raises HTTPException 413, 408."""
        parts = []
        while not self._complete:
            parts.append((await self.receive()).get("body", b""))
        return b"".join(parts)

    def _is_declared_larger(self) -> bool:
        text = self._declared or ""
        return text.isascii() and text.isdigit() and int(text) > self.limit

    async def _piece(self) -> Message:
        self._started = self._started or time.monotonic()
        allowed = min(_MAX_IDLE, self._started + _GRACE + self._size / _MIN_RATE - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(allowed, 0.0))
        except TimeoutError:
            self._complete = True
            raise HTTPException(
                408,
                f"the request's body did not arrive: {self._size} bytes in "
                f"{time.monotonic() - self._started:.0f} s; send it again over a faster connection",
                headers={"Connection": "close"},
            ) from None
        self._size += len(message.get("body", b""))
        self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    def _too_large(self) -> HTTPException:
        if self.limit == 0:
            return HTTPException(413, "this request takes no body")
        return HTTPException(413, f"the request is larger than the {size_text(self.limit)} allowed")


def replayed(content: bytes, receive: Receive) -> Receive:
    """Make a `receive` that replays a body already read."""
    pieces: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def again() -> Message:
        return pieces.pop() if pieces else await receive()

    return again


def read_json(text: str | bytes) -> Any:
    """Parse JSON (RFC 8259), at most `MAX_DEPTH` deep. Raises HTTPException 400 if malformed, 422 for NaN."""
    if len(text) > MAX_VALUES and sum(map(text.count, _VALUE_MARKS[type(text)])) > MAX_VALUES:
        raise HTTPException(413, f"the JSON has more than {MAX_VALUES} values")
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # bad JSON, bad UTF-8, or a number of thousands of digits
        raise HTTPException(400, f"this is not JSON: {error}") from None
    _check_value(value, MAX_DEPTH - 1)
    return value


def read_object(text: str | None, what: str) -> dict[str, Any]:
    """Parse a JSON object in a form field; {} for an empty one. Raises HTTPException 400, 422."""
    value = read_json(text) if text and text.strip() else {}
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HTTPException(400, f'{what}: expected {{"name": value, ...}}')
    return value


def _refuse_constant(name: str) -> Any:
    raise HTTPException(422, f"{name} is not a number in JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise HTTPException(422, f"the number {text[:40]} is too large")
    return number


def _check_value(value: Any, depth_left: int) -> None:
    """Refuse deep nesting, and lone surrogates, which no answer could hold. Raises HTTPException."""
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    if depth_left < 0 and not isinstance(value, str):
        raise _too_deep()
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise HTTPException(400, f"a text in the JSON is not valid Unicode: {value[:40]!r}") from None
    for item in inner:
        if isinstance(item, dict | list | str):
            _check_value(item, depth_left - 1)


def _too_deep() -> HTTPException:
    return HTTPException(400, f"the JSON is nested more than {MAX_DEPTH} deep")
