"""Opening a pool's state: alone, or beside other servers of the same pool."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from pool.database import Busy, reason_of
from pool.state import State
from server.config import ConfigError

_PATIENCE = 10.0  # seconds: a server that was just killed may need a moment to let go


def open_state(folder: Path, url: str, in_server: bool, several: bool) -> tuple[State, ExitStack]:
    """The pool's state, and what a server holds as long as it lives so that no other one works on the pool.

    :param url: of a PostgreSQL database, "" for SQLite in the folder
    :param several: the servers of a DICOMweb store, which hold the database together

    Raises ConfigError for a database that cannot be used or that another server holds.
    """
    held = ExitStack()
    try:
        state = State(folder, migrate=in_server, url=url)
        if in_server and url:
            held.enter_context(state.exclusive("server", timeout=_PATIENCE, shared=several))
    except Busy as error:
        raise ConfigError(f"{error}; stop that server, or give each pool a database of its own") from None
    except ModuleNotFoundError as error:
        raise ConfigError(f"--conf database: its driver {error.name!r} is not installed") from None
    except SQLAlchemyError as error:
        if not url:
            raise
        raise ConfigError(
            f"--conf database: {reason_of(error)}; check the URL and PGPASSWORD, and that it runs"
        ) from None
    except ValueError as error:
        raise ConfigError(f"--conf database: {error}") from None
    return state, held


def trains_now(folder: Path) -> bool:
    """Whether a training of this pool runs, on whatever server."""
    lock = FileLock(folder / "training.lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
