"""Refuse a start that cannot work: the log ends with one line that says why and what to do."""

from __future__ import annotations

import argparse
import errno
import logging
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from pool.errors import PoolError
from server.config import ConfigError
from server.open_pool import is_url

_LOG = "uvicorn.error"  # logs a failed start: the traceback, then that it failed
_FAILED = "Application startup failed"
_APPS = Path(__file__).resolve().parents[1] / "apps"
ONE_WORKER = (
    "start the server without --workers: each worker would keep a datastore of its own, and labels would be "
    "lost"
)


class _OneLine(logging.Filter):
    """Replaces what the web server logs of a failed start by the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self._reason = " ".join(reason.split())

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if _FAILED in text:
            record.msg, record.args = f"{_FAILED}: {self._reason}", ()
        return not text.startswith("Traceback")


@contextmanager
def refusing_in_one_line() -> Iterator[None]:
    """Let the log end with the reason, without a traceback, when the block refuses to start."""
    try:
        yield
    except (ValueError, OSError, PoolError) as error:  # ConfigError and DatasetError are ValueErrors
        reason = error.text if isinstance(error, PoolError) else str(error)
        logging.getLogger(_LOG).addFilter(_OneLine(reason))
        raise


def check_start(studies: str) -> None:
    """Raise ConfigError for a start by `monailabel start_server` that cannot work or would lose labels."""
    from monailabel.config import settings  # imports PyTorch

    if multiprocessing.parent_process() is not None:
        raise ConfigError(ONE_WORKER)
    if "start_server" in sys.argv:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("-i", "--host", default="0.0.0.0")
        check_port(parser.parse_known_args(sys.argv[1:])[0].host, settings.MONAI_LABEL_SERVER_PORT)
        if not is_url(studies):
            _remove_if_new(Path(studies))
    check_studies(studies)


def check_app(folder: Path) -> None:
    """Raise ConfigError unless there is an app in the folder."""
    if not (folder / "main.py").is_file():
        ours = ", ".join(str(file.parent) for file in sorted(_APPS.glob("*/main.py")))
        raise ConfigError(f"--app {folder}: there is no app here (no main.py); try {ours}")


def check_studies(studies: str) -> None:
    """Raise ConfigError unless this is a folder that can be read, or a URL."""
    folder = Path(studies)
    if is_url(studies):
        return
    if not folder.exists():
        raise ConfigError(f"--studies {studies} does not exist: correct the path, or make the folder first")
    if not folder.is_dir():
        raise ConfigError(f"--studies {studies} is a file: give the folder of the images")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigError(f"--studies {studies} cannot be read by the user of the server: change its rights")


def _remove_if_new(folder: Path) -> None:
    """Remove a folder that MONAI Label has just made for a misspelt path."""
    for made in (folder, *folder.parents):
        if not _is_new(made):
            break
        made.rmdir()


def _is_new(folder: Path) -> bool:
    """Return True for an empty folder that was made since this process started."""
    return folder.is_dir() and not any(folder.iterdir()) and folder.stat().st_ctime >= _start_of_process()


def _start_of_process() -> float:
    """Return when this process was started, seconds since the epoch, to a few hundredths.

    psutil knows the time of the machine's start to a second only.
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):  # not Linux
        return psutil.Process().create_time() + 1
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    return started + 0.02


def check_port(host: str, port: int) -> None:
    """Raise ConfigError when the server cannot listen here, above all since another program does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigError(
                    f"port {port} of {host} is in use: stop the program that listens there, or choose "
                    "another with --port"
                ) from None
            raise ConfigError(
                f"the server cannot listen on port {port} of {host}: {error.strerror}"
            ) from None
