"""Pictures of the pages without a server: missing files, and the queue."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio import CapacityLimiter
from fastapi import Request
from PIL import Image

from bundle_configs import Bundle
from pool.datastore import PoolDatastore
from pool.errors import PoolError
from server.pages.pictures import Pictures
from server.pages.routes import _in_turn


def test_a_file_that_has_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(file)
    bundle = Bundle("cxr_lungs")
    store = PoolDatastore(str(tmp_path), bundle.get("labels"), read_only=True)  # it does not watch the folder
    pictures = Pictures(store, bundle, lambda: None)
    assert pictures.picture("a", 64).startswith(b"\x89PNG")
    file.unlink()
    with pytest.raises(PoolError, match="is missing") as refused:
        pictures.picture("a", 64)
    assert refused.value.status == 404


def request(gone: bool) -> Request:
    async def receive() -> dict[str, Any]:
        if not gone:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "headers": []}, receive)


def test_pictures_are_made_in_turn_and_not_for_those_who_went_on() -> None:
    now, most, made = 0, 0, []
    lock = threading.Lock()

    def make(name: int) -> bytes:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        time.sleep(0.05)
        with lock:
            now -= 1
            made.append(name)
        return b"png"

    async def ask() -> list[int]:
        limiter = CapacityLimiter(2)
        asked = (_in_turn(request(n == 3), limiter, lambda n=n: make(n)) for n in range(6))  # type: ignore[misc]
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    with ThreadPoolExecutor(1) as other:  # this thread has a loop when a browser is driven in it
        assert other.submit(asyncio.run, ask()).result() == [200, 200, 200, 499, 200, 200]
    assert sorted(made) == [0, 1, 2, 4, 5] and most == 2
