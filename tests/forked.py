"""Servers under test, their pools, and commands under test, are forked by a nursery (`tests.nursery`).

With `--long`, and within `commands()`, a server is the command `python -m monailabel.main start_server ...`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import pytest

from benchmarks.server_process import ROOT, Server
from tests.nursery import SOCKET, ForkedProcess

_START_SECONDS = 180  # for a nursery to import everything on a busy machine
_command = Server.launch
_nurseries: dict[str, subprocess.Popen[bytes]] = {}  # by socket


@contextmanager
def servers() -> Iterator[None]:
    """Fork the servers that this process starts; one that was forked itself uses the nursery of its own."""
    with pytest.MonkeyPatch.context() as patch, nullcontext() if SOCKET in os.environ else own_nursery():
        patch.setattr(Server, "launch", staticmethod(_fork))
        yield


@contextmanager
def commands() -> Iterator[None]:
    """Start servers as commands, where the processes themselves are under test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "launch", staticmethod(_command))
        yield


@contextmanager
def own_nursery() -> Iterator[None]:
    """Fork from a nursery that is started for this block, when it is needed: with other hashes of strings."""
    outer = os.environ.pop(SOCKET, None)
    try:
        yield
    finally:
        if SOCKET in os.environ:
            end_nursery()
        if outer:
            os.environ[SOCKET] = outer


def begin_nursery() -> None:
    """Start a nursery for this process and those that it starts; it answers later."""
    os.environ[SOCKET] = str(Path(tempfile.mkdtemp(prefix="nursery-")) / "socket")
    command = [sys.executable, "-m", "tests.nursery"]
    _nurseries[os.environ[SOCKET]] = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)


def end_nursery() -> None:
    """End the nursery that this process has begun."""
    own = os.environ.pop(SOCKET)
    _nurseries.pop(own).communicate()
    shutil.rmtree(Path(own).parent)


def _fork(command: Sequence[str], output: IO[str], env: Mapping[str, str]) -> Any:
    """Fork a server."""
    _start_nursery()
    with open(os.devnull) as nothing:
        streams = (nothing.fileno(), output.fileno(), output.fileno())
        return ForkedProcess(command, streams, {**env, SOCKET: os.environ[SOCKET]}, session=True)


def _start_nursery() -> None:
    """Start this process's nursery, unless it has one, and wait until it answers."""
    if SOCKET not in os.environ:
        begin_nursery()
    nursery, end = _nurseries.get(os.environ[SOCKET]), time.monotonic() + _START_SECONDS
    while not Path(os.environ[SOCKET]).exists():
        if time.monotonic() > end or nursery and nursery.poll() is not None:
            raise RuntimeError("the nursery did not start")
        time.sleep(0.1)


def start(*arguments: str, log: Path) -> ForkedProcess:
    """Fork Python with `-m MODULE ...` or `-c CODE ...` in a session of its own, which prints to `log`."""
    _start_nursery()
    with open(os.devnull) as nothing, open(log, "w") as output:
        streams = (nothing.fileno(), output.fileno(), output.fileno())
        return ForkedProcess([sys.executable, *arguments], streams, os.environ, session=True)


def run(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with `-m MODULE ...` or `-c CODE ...` to its end; forked where servers are.

    :param env: variables to set beside those of this process
    :raises AssertionError: unless it ends with 0; with the end of what it printed
    """
    command, place = [sys.executable, *arguments], {**os.environ, **(env or {})}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        if Server.launch is _command:
            status = subprocess.run(command, cwd=cwd, env=place, stdout=output, stderr=errors).returncode
        else:
            _start_nursery()
            with open(os.devnull) as nothing:
                streams = (nothing.fileno(), output.fileno(), errors.fileno())
                place |= {SOCKET: os.environ[SOCKET]}
                status = ForkedProcess(command, streams, place, cwd=cwd and str(cwd)).wait()
        for file in (output, errors):
            file.seek(0)
        done = subprocess.CompletedProcess(command, status, output.read(), errors.read())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def prepare(
    app: str, studies: Path | str, state: Path, conf: Mapping[str, Any], masks: Path | None = None
) -> None:
    """Refresh a pool, so that a server with this configuration finds features, map and plans.

    :param app: name of a folder in `apps`
    :param masks: folder of true masks; if given, label the cold start and train the first model, too
    :raises RuntimeError: with the end of the log
    """
    words = {**{key: str(value) for key, value in conf.items()}, "state": str(state)}
    pool = {"app": str(ROOT / "apps" / app), "studies": str(studies), "conf": words}
    _run("refresh", pool)
    if masks:
        _run("label", {**pool, "masks": str(masks), "count": conf["cold_start_budget"]})
        _run("train", pool)


def _run(kind: str, pool: Mapping[str, Any]) -> None:
    _start_nursery()
    with tempfile.TemporaryFile() as log:
        streams = [log.fileno()] * 3
        command = [sys.executable, "-m", "tests.prepare_pool", kind, json.dumps(pool)]
        if status := ForkedProcess(command, streams, os.environ).wait(300):
            log.seek(0)
            said = log.read().decode(errors="replace")[-3000:]
            raise RuntimeError(f"{kind} of the pool ended with {status}:\n{said}")
