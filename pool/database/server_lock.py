"""The lock on a pool in PostgreSQL that a server holds for life, also when the database is restarted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

import sqlalchemy as sa

logger = logging.getLogger(__name__)


class Busy(RuntimeError):
    """Raised when another process or server holds the lock."""


class ServerLock:
    """Holds the lock until it is closed; `watch` takes it again when its connection has broken.

    :param take: takes the lock, waiting for so many seconds, and gives the connection that holds it; raises
        Busy
    """

    def __init__(
        self, take: Callable[[float], AbstractContextManager[sa.Connection | None]], timeout: float
    ) -> None:
        self._take, self._lock = take, threading.Lock()
        self._stack = ExitStack()
        self._connection = self._stack.enter_context(take(timeout))
        self.loss = ""  # why this server must not work on the pool any more

    def watch(self) -> None:
        """Look if the lock is held; take it again if the database was restarted. Call it every second."""
        with self._lock:
            try:
                if self._connection is not None:
                    self._connection.execute(sa.text("SELECT 1"))
                    return
            except sa.exc.SQLAlchemyError:
                self._let_go()
            self._take_again()

    def _take_again(self) -> None:
        stack = ExitStack()
        try:
            self._connection = stack.enter_context(self._take(0.0))
        except sa.exc.SQLAlchemyError:  # still down: requests say so
            return
        except Busy as error:
            self.loss = (
                f"the pool's database was away, and another server has taken the pool meanwhile ({error}). "
                "Stop one of the two servers; labels that are saved are safe"
            )
            return
        self._stack, self.loss = stack, ""
        logger.warning("The pool's database was restarted; this server holds the pool again")

    def _let_go(self) -> None:
        with suppress(sa.exc.SQLAlchemyError):
            self._stack.close()
        self._stack, self._connection = ExitStack(), None

    def close(self) -> None:
        """Release the lock."""
        with self._lock:
            self._let_go()
