"""Places of pool states, and a record of the servers of this user that run now."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs
import psutil

_DATA = "scan-selection"  # folder in the user's data folder
_SAME_START = 1.0  # seconds by which two readings of a process's start may differ


def state_folder(app_dir: str, studies: str, configured: str) -> Path:
    """Return the folder of a pool's state.

    It is the configured one; else one that former versions made in the app's folder; else one in the user's
    data folder, named after the app and the studies.
    """
    if configured:
        return Path(configured).expanduser().resolve()
    in_app = Path(app_dir) / "state" / state_name(studies)
    return in_app if in_app.is_dir() else states_folder(app_dir) / state_name(studies)


def states_folder(app_dir: str) -> Path:
    """Return the folder in the user's data folder with the states of an app's pools."""
    return data_folder() / os.path.basename(os.path.realpath(app_dir))


def state_name(studies: str) -> str:
    """Return the name of the state folder of a studies folder or DICOMweb URL."""
    studies = studies.rstrip("/")
    name = re.sub(r"[^A-Za-z0-9]+", "-", studies.split("/")[-1]) or "studies"
    return f"{name}-{hashlib.sha256(studies.encode()).hexdigest()[:8]}"


def data_folder() -> Path:
    """Return this project's folder in the user's data folder."""
    return platformdirs.user_data_path(_DATA, appauthor=False)


@dataclass(frozen=True)
class PoolPlace:
    """A pool as a server opens it.

    :param conf: the `--conf` pairs
    """

    app: str
    studies: str
    conf: dict[str, Any]
    state: str


@dataclass(frozen=True)
class RunningServer(PoolPlace):
    """A server of this user that runs now.

    :param started: when its process started, seconds since the epoch
    :param address: of its pages, up to the port and the root path
    """

    pid: int
    started: float
    address: str


def record_server(place: PoolPlace, address: str) -> Path:
    """Record this process as a pool's server, for `running_servers`; return the file. Raises OSError."""
    process, folder = psutil.Process(), _records()
    folder.mkdir(parents=True, exist_ok=True)
    running_servers()  # removes records of servers that were killed
    file = folder / f"{process.pid}.json"
    file.unlink(missing_ok=True)
    record = {**asdict(place), "pid": process.pid, "started": process.create_time(), "address": address}
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(record, stream)
    return file


def running_servers() -> list[RunningServer]:
    """Return the recorded servers that run now; remove the records of others."""
    servers = []
    for file in sorted(_records().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):  # it is just being written or removed
            server = RunningServer(**json.loads(file.read_text()))
            if _runs(server):
                servers.append(server)
            else:
                file.unlink()
    return servers


def _runs(server: RunningServer) -> bool:
    try:
        return abs(psutil.Process(server.pid).create_time() - server.started) < _SAME_START
    except psutil.Error:
        return False


def _records() -> Path:
    return data_folder() / "running"
