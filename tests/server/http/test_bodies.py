"""Request bodies that are too large, too slow, too deep or not JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fastapi import HTTPException
from starlette.types import Message

from server.http import bodies
from server.http.bodies import MAX_DEPTH, Body, read_json, read_object, replayed


def feed(*pieces: bytes, pause: float = 0.0) -> Callable[[], Awaitable[Message]]:
    """Make a `receive` that returns these pieces, each after a pause, and then nothing."""
    left = list(pieces)

    async def receive() -> Message:
        await asyncio.sleep(pause if left else 3600)
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    return receive


def content(limit: int, *pieces: bytes, declared: str | None = None, pause: float = 0.0) -> bytes:
    async def read() -> bytes:
        body = Body(feed(*pieces, pause=pause), declared)
        body.limit = limit
        return await body.content()

    return asyncio.run(read())


def test_a_body_within_its_limit_is_whole() -> None:
    assert content(6, b"abc", b"", b"def") == b"abcdef"
    assert content(0, b"") == b""


@pytest.mark.parametrize(
    ("limit", "says"), [(5, "larger than the 5 bytes"), (2048, "2 KiB"), (0, "takes no body")]
)
def test_a_larger_body_is_refused_with_the_limit(limit: int, says: str) -> None:
    for declared in (None, str(limit + 1), "no number"):
        with pytest.raises(HTTPException, match=says) as refused:
            content(limit, b"x" * limit, b"x", declared=declared)
        assert refused.value.status_code == 413


def test_what_is_too_large_by_its_own_words_is_refused_at_once() -> None:
    with pytest.raises(HTTPException, match="larger than"):
        content(10, b"x", declared="11")


def test_a_body_that_is_looked_at_after_long_work_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_GRACE", 0.1)

    async def answer() -> bytes:
        body = Body(feed(b""), None)
        await asyncio.sleep(0.2)  # a prediction, of which the answer then asks if the client is still there
        return await body.content()

    assert asyncio.run(answer()) == b""


def test_a_body_that_stops_or_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_MAX_IDLE", 0.2)
    with pytest.raises(HTTPException, match="did not arrive: 0 bytes") as refused:
        content(10, b"a", b"b", pause=5)
    assert refused.value.status_code == 408
    monkeypatch.setattr(bodies, "_GRACE", 0.5)
    with pytest.raises(HTTPException, match="faster connection"):
        content(100, *[b"x"] * 50, pause=0.05)


def test_a_body_that_was_read_is_given_again_and_then_the_client_goes() -> None:
    async def run() -> list[Message]:
        receive = replayed(b"abc", feed(b"gone"))
        return [await receive(), await receive()]

    first, second = asyncio.run(run())
    assert first == {"type": "http.request", "body": b"abc", "more_body": False} and second["body"] == b"gone"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"'a'", 400),
        (b"1" * 5000, 400),
        (b"[" * 100_000, 400),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), 400),
        (b'{"a":' * (MAX_DEPTH + 2) + b"1" + b"}" * (MAX_DEPTH + 2), 400),
        (b'{"a": "\\ud800"}', 400),
        (b'{"\\udfff": 1}', 400),
        (b"NaN", 422),
        (b'{"a": [Infinity]}', 422),
        (b"-Infinity", 422),
        (b"1e999", 422),
    ],
)
def test_what_is_no_json_is_refused(text: bytes, status: int) -> None:
    with pytest.raises(HTTPException) as refused:
        read_json(text)
    assert refused.value.status_code == status


def test_json_is_read() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read_json(b'{"a": [1, 2.5, null, "\\ud83d\\ude00"]}') == {"a": [1, 2.5, None, "😀"]} and read_json(
        deep
    )
    assert read_object("", "params") == read_object(None, "params") == read_object("null", "params") == {}
    with pytest.raises(HTTPException, match="params: expected"):
        read_object("[1]", "params")
