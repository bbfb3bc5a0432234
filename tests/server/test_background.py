"""The thread that notices changes: a change while it rests is looked at when the rest ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from pool.database.state import State
from server.background import Background
from server.tasks import Tasks


def test_a_change_during_a_rest_waits_for_its_end_only(tmp_path: Path) -> None:
    """It waited for the next tick of a second; the quickest of several counts, as the machine may be busy."""
    looked = threading.Event()

    def look() -> None:
        end = time.thread_time() + 0.02  # a rest of 0.2 s follows
        while time.thread_time() < end:
            pass
        looked.set()

    background = Background(
        State(tmp_path, migrate=True),
        look,
        lambda: None,
        lambda: 0,
        lambda last: False,
        Tasks(),
        lambda: None,
        lambda: None,
    )
    background.start()
    waits = []
    for _ in range(6):
        looked.clear()
        started = time.monotonic()
        background.wake()
        assert looked.wait(30)
        waits.append(time.monotonic() - started)
    assert min(waits[1:]) < 0.9, waits
