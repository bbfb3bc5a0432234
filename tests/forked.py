"""Processes under test are forked from one that has imported the libraries once.

Importing PyTorch, MONAI and what stands on them takes longer than most tests of a server. The code of this
project and of MONAI Label is imported after the fork, by each process, so a server runs as
`python -m monailabel.main` does. With `--long` each server is such a command.
"""

from __future__ import annotations

import atexit
import glob
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pytest

from benchmarks.server_process import ROOT, Server

# What a server imports of others. monailabel is none of them: it reads its settings from the environment.
LIBRARIES = (
    *("monai.bundle", "monai.handlers", "ignite.engine", "torch", "torch.utils.tensorboard", "numba"),
    *("openTSNE", "sklearn.cluster", "sklearn.mixture", "scipy.stats", "skimage.feature", "imagehash"),
    *("itk", "SimpleITK", "nibabel", "nrrd", "highdicom", "pydicom_seg", "dicomweb_client", "bcrypt"),
    *("fastapi", "uvicorn", "sqlalchemy", "alembic.command", "pydantic_settings", "girder_client", "jwt"),
    *("matplotlib.pyplot", "transformers", "jinja2", "timeloop", "watchdog.observers"),
)


class ForkedProcess:
    """The part of `subprocess.Popen` that `Server` and its tests use, for a process made by a fork server.

    :param command: what it stands for, as `args`
    :param output: file that its output is added to
    """

    def __init__(
        self,
        target: Callable[..., None],
        words: Sequence[Any],
        command: Sequence[str],
        output: str,
        env: Mapping[str, str],
    ) -> None:
        self.args = list(command)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(LIBRARIES))
        self._process = context.Process(target=_run, args=(target, words, output, dict(env), os.getcwd()))
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


def _run(
    target: Callable[..., None], words: Sequence[Any], output: str, env: Mapping[str, str], cwd: str
) -> None:
    """Call the target as if in a process of its own: with its session, environment, folder and output."""
    os.setsid()
    multiprocessing.process._parent_process = None  # else a server takes itself for one of uvicorn's workers
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0:0] = [cwd]
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        target(*words)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends its processes without them


# servers ----------------------------------------------------------------------------------------------


def _run_module(*words: str) -> None:
    """Run `python -m MODULE ...` in this process."""
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def launch(command: Sequence[str], output: IO[str], env: Mapping[str, str]) -> Any:
    """Fork a server; one with a PYTHONPATH of its own, which has other code, is started as a command."""
    if env.get("PYTHONPATH") != os.environ.get("PYTHONPATH"):
        return start_command(command, output, env)
    return ForkedProcess(_run_module, command[2:], command, output.name, env)


start_command = Server.launch


@contextmanager
def servers() -> Iterator[None]:
    """Fork the servers that this process starts, and leave none behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "launch", staticmethod(launch))
        yield
    for process in multiprocessing.active_children():
        process.kill()


# pools ------------------------------------------------------------------------------------------------


def prepare(
    app: str, studies: Path | str, state: Path, conf: Mapping[str, Any], labels: Path | None = None
) -> None:
    """Refresh a pool, so that a server with this configuration finds features, map and plans.

    :param app: name of a folder in `apps`
    :param labels: folder of true masks; if given, label the cold start and train the first model, too
    :raises RuntimeError: with the end of the log
    """
    words = {**{key: str(value) for key, value in conf.items()}, "state": str(state)}
    pool = (str(ROOT / "apps" / app), str(studies), words)
    _finish(_refresh, pool, state)
    if labels:
        _finish(_label, (*pool, str(labels), int(conf["cold_start_budget"])), state)
        _finish(_train, pool, state)


def _finish(target: Callable[..., None], words: Sequence[Any], state: Path) -> None:
    log = state.with_name(f"{state.name}.prepare.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    process = ForkedProcess(target, words, [target.__name__], str(log), os.environ)
    if status := process.wait(300):
        raise RuntimeError(f"{target.__name__} ended with {status}:\n{log.read_text()[-3000:]}")


def _open(app: str, studies: str, conf: Mapping[str, str]) -> Any:
    """Return the app as children of the server have it."""
    from monailabel.interfaces.utils.app import app_instance

    from pool.database.state import State

    State(Path(conf["state"]), migrate=True)
    return app_instance(app, studies, dict(conf))


def _refresh(*pool: Any) -> None:
    print(_open(*pool).scoring({"method": "refresh"}))


def _train(*pool: Any) -> None:
    app = _open(*pool)
    print(app.train({"model": "segmentation"}), app.scoring({"method": "refresh"}))


def _label(app: str, studies: str, conf: Mapping[str, str], labels: str, count: int) -> None:
    """Label what the cold start hands out, in the app as the server has it."""
    import monailabel.app  # noqa: F401

    opened = _open(app, studies, conf)
    for _ in range(count):
        image = opened.next_sample({"strategy": "auto", "client_id": "ada"})["id"]
        (label,) = Path(labels).glob(f"{glob.escape(image)}.*")
        opened.datastore().save_label(image, str(label), "final", {"client_id": "ada"})
