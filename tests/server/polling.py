"""Waiting for a server: its status, and until something is true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

from benchmarks.server_process import Server


def until(true: Callable[[], Any], seconds: float = 120) -> Any:
    """Return the first true value; fail after some seconds."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
    return value


def status(server: Server) -> dict[str, Any]:
    """Return the answer of `GET /selection/status`."""
    return dict(requests.get(f"{server.url}/selection/status", timeout=60).json())
