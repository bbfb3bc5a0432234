"""The lines at the end of the server's start: where to label, and what keeps people from it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import uvicorn
from monailabel.config import settings

from pool.protocol import PoolStore
from server.http.sessions import close_at_stop
from server.logs import size_text
from server.places import PoolPlace, record_server

logger = logging.getLogger(__name__)
_PAGES = (("Label", "label"), ("Look at the pool", "map"), ("See how good the models are", "progress"))
_AFTER = 1.0  # seconds: after uvicorn's own lines, which come when the application has started


def greet(listening: uvicorn.Config, place: PoolPlace, log: Path | None, store: PoolStore) -> None:
    """Let commands find this server; once it listens, log the addresses of its pages and what is missing.

    :param log: the log file, if there is one
    """
    facts = [f"State: {place.state}"]
    if log:
        facts.append(f"Log: {log} ({size_text()})")
    if listening.uds is None:
        facts = [f"{text}: {address(listening)}/selection/{page}" for text, page in _PAGES] + facts
        try:
            record = record_server(place, address(listening))
        except OSError as error:
            logger.warning("`scan-selection` cannot find this server by itself: %s", error)
        else:
            close_at_stop(partial(record.unlink, missing_ok=True))
    lines = ["The server is ready.", *facts]
    timer = threading.Timer(_AFTER, _log, (lines, obstacles(store, place.studies)))
    timer.daemon = True
    timer.start()


def _log(lines: Sequence[str], obstacles: Sequence[str]) -> None:
    logger.info("\n".join(lines))
    for obstacle in obstacles:
        logger.warning(obstacle)


def obstacles(store: PoolStore, studies: str) -> list[str]:
    """Say what keeps everybody from labelling in this pool."""
    texts = []
    if not store.list_images():
        there = f"; {store.ignored_files}" if store.ignored_files else ""
        texts.append(f"There are no images in {studies}: add some, they are found within a minute{there}")
    if store.unwritable:
        texts.append(
            f"Nothing can be labelled: the server cannot write in {studies} ({store.unwritable}); make it "
            "writable for the server's user, then start again"
        )
    return texts


def address(listening: uvicorn.Config) -> str:
    """Return the address by which a browser on this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(listening.host, listening.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    scheme = "https" if listening.is_ssl else "http"
    return f"{scheme}://{host}:{listening.port}{settings.MONAI_LABEL_API_STR}"
