"""Servers under test are forked from a process that has imported the libraries once.

Importing PyTorch, MONAI and what stands on them takes longer than most tests of a server. The code of this
project and of MONAI Label is imported by each server, after the fork, so a server runs as
`python -m monailabel.main` does. With `--long` each server is such a command.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import pytest

from benchmarks.server_process import Server

# What a server imports of others. monailabel is none of them: it reads its settings from the environment.
LIBRARIES = (
    *("monai.bundle", "monai.handlers", "ignite.engine", "torch", "torch.utils.tensorboard", "numba"),
    *("openTSNE", "sklearn.cluster", "sklearn.mixture", "scipy.stats", "skimage.feature", "imagehash"),
    *("itk", "SimpleITK", "nibabel", "nrrd", "highdicom", "pydicom_seg", "dicomweb_client"),
    *("fastapi", "uvicorn", "sqlalchemy", "alembic.command", "pydantic_settings", "girder_client", "jwt"),
    *("matplotlib.pyplot", "transformers", "jinja2", "bcrypt", "timeloop", "watchdog.observers"),
)


class ForkedProcess:
    """The part of `subprocess.Popen` that `Server` and its tests use, for a process made by a fork server."""

    def __init__(self, command: Sequence[str], output: IO[str], env: Mapping[str, str]) -> None:
        self.args = list(command)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(LIBRARIES))
        self._process = context.Process(
            target=_run_module, args=(self.args[2:], output.name, dict(env), os.getcwd())
        )
        self._process.start()
        self.pid = cast(int, self._process.pid)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status; raise subprocess.TimeoutExpired after `timeout` s."""
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(self.args, cast(float, timeout))
        return status

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run_module(words: Sequence[str], log: str, env: Mapping[str, str], cwd: str) -> None:
    """Become `python -m MODULE ...`: a session, environment, folder and output of its own."""
    os.setsid()
    multiprocessing.process._parent_process = None  # else it takes itself for one of uvicorn's workers
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0:0] = [cwd]
    sys.argv = list(words)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends its processes without them


def launch(command: Sequence[str], output: IO[str], env: Mapping[str, str]) -> Any:
    """Fork a server; one with a PYTHONPATH of its own, which has other code, is started as a command."""
    if env.get("PYTHONPATH") != os.environ.get("PYTHONPATH"):
        return start_command(command, output, env)
    return ForkedProcess(command, output, env)


start_command = Server.launch


@contextmanager
def forked() -> Iterator[None]:
    """Fork the servers that this process starts, and leave none behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "launch", staticmethod(launch))
        yield
    for process in multiprocessing.active_children():
        process.kill()
