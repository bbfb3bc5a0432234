"""Who was sent which image: entries `opened` of the ledger, written in the background.

Nobody waits for them, and there is one per person, image and hour at most. A killed server loses those of its
last seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

from cachetools import LRUCache
from monailabel.config import settings as monailabel_settings
from sqlalchemy.exc import SQLAlchemyError

from pool.database.ledger import HOUR, Ledger, Opening
from pool.errors import PoolError
from server.desk.readers import asking, client_here

logger = logging.getLogger(__name__)
_PAUSE = 2.0  # seconds between two writes
_MAX_KNOWN = 200_000  # persons and images of the present hour in memory
_MAX_WAITING = 100_000  # entries in memory while the database is down


def is_on(chosen: str) -> bool:
    """Return whether the setting `log_opened` turns the entries on: by default where users sign in."""
    return bool(monailabel_settings.MONAI_LABEL_AUTH_ENABLE) if chosen == "auto" else chosen == "true"


class Openings(threading.Thread):
    """Writes entries of one server; thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(name="openings", daemon=True)
        self._ledger, self._lock, self._event = ledger, threading.Lock(), threading.Event()
        self._known: LRUCache[tuple[str, str, int], bool] = LRUCache(_MAX_KNOWN)
        self._waiting: list[Opening] = []

    def is_new(self, who: str, image: str) -> bool:
        """Return whether this is the first time within the hour, as far as this server knows."""
        key = (who, image, int(time.time() // HOUR))
        with self._lock:
            is_known, self._known[key] = key in self._known, True
            return not is_known

    def add(self, image: str, client: str, what: str) -> None:
        """Record that an image was sent to a client; `what` names the part of it."""
        with self._lock:
            if len(self._waiting) < _MAX_WAITING:
                self._waiting.append(Opening(image, client, what, time.time()))
            else:
                logger.error("The ledger cannot be written: that %s was opened is lost", image)
        self._event.set()

    def close(self) -> None:
        """Write what waits now, as the server is stopping."""
        self._event.set()

    def run(self) -> None:
        while True:
            self._event.wait()
            self._event.clear()
            self._write()
            time.sleep(_PAUSE)

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        try:
            self._ledger.add_openings(waiting)
        except SQLAlchemyError as error:
            logger.warning("Who opened images is written later: %s", error)
            with self._lock:
                self._waiting = [*waiting, *self._waiting]
            self._event.set()


def opened(app: Any, images: str | Iterable[str], what: str, client_id: Any = "") -> None:
    """Record that the client of the present request is sent images, if `log_opened` says so.

    Never fails: an image is sent also while the database is down.

    :param what: the part that is sent: image, voxels, picture, label, data set or dicom
    :param client_id: as the request names its client, if it does
    """
    openings: Openings | None = app.openings
    if openings is None:
        return
    who = asking() or str(client_id or "")
    new = [
        image for image in ([images] if isinstance(images, str) else images) if openings.is_new(who, image)
    ]
    try:
        name = client_here(app, str(client_id or "")).name if new else ""
    except PoolError as error:
        logger.warning("Who opens %s is not known now: %s", ", ".join(new[:5]), error.text)
        name = "unknown"
    for image in new:
        openings.add(image, name, what)
