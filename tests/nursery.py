"""A process that has imported the libraries once, and forks those that need them: `python -m tests.nursery`.

Importing PyTorch, MONAI and what stands on them takes longer than most tests of a server. MONAI Label reads
its settings while it is imported: they are read again after the fork. A server whose environment has such
settings imports all that reads them again, and a process with other code all code of this project. So a
process runs as `python -m MODULE` does, with an environment, a folder, standard streams and random hashes
of strings that are the nursery's.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_ENDPOINTS = ("activelearning", "batch_infer", "datastore", "infer", "info", "login", "logs", "model", "ohif")
_ENDPOINTS += ("proxy", "scoring", "session", "train", "wsi_infer")
# What a server and its children import of others. `monailabel.app` tells a server from its children.
LIBRARIES = (
    *("monai.bundle", "monai.handlers", "ignite.engine", "torch", "torch.utils.tensorboard", "numba"),
    *("openTSNE", "sklearn.cluster", "sklearn.mixture", "scipy.stats", "skimage.feature", "imagehash"),
    *("itk", "SimpleITK", "nibabel", "nrrd", "highdicom", "pydicom_seg", "dicomweb_client", "bcrypt"),
    *("fastapi", "uvicorn", "sqlalchemy", "alembic.command", "pydantic_settings", "girder_client", "jwt"),
    *("matplotlib.pyplot", "transformers", "jinja2", "timeloop", "watchdog.observers"),
    *("markdown_it", "passlib.context", "requests_toolbelt", "setuptools", "pydantic.v1", "schedule"),
    *("fastapi.staticfiles", "fastapi.middleware.cors", "monailabel.main", "monailabel.interfaces.app"),
    *(f"monailabel.endpoints.{name}" for name in _ENDPOINTS),
)
_OURS = ("server.app", "server.child", "server.cli", "server.starting", "strategies.strategy")
_PACKAGES = ("bundle_configs", "infers", "pool", "server", "strategies", "trainers")
_STARTERS = {"server.tasks", "server.worker", "server.backups"}  # these start children
_SETTINGS = "MONAI_LABEL_"  # environment variables with MONAI Label's settings
SOCKET = "SCAN_SELECTION_TEST_NURSERY"  # environment variable: where the nursery listens
_SERVER_PID = "SCAN_SELECTION_SERVER_PID"  # see `server.background.end_with_parent`
_MAX_BYTES = 1 << 20  # of a request


class ForkedProcess:
    """`python -m MODULE ...` or `python -c CODE ...`, forked by the nursery of $SCAN_SELECTION_TEST_NURSERY.

    Has the part of `subprocess.Popen` that `Server`, `server.tasks` and their tests use.

    :param args: the whole command
    :param streams: descriptors to be its standard input, output and error
    """

    stdin: IO[str] | None = None
    stdout: IO[str] | None = None
    stderr: IO[str] | None = None

    def __init__(
        self,
        args: Sequence[str],
        streams: Sequence[int],
        env: Mapping[str, str],
        session: bool = False,
        cwd: str | None = None,
    ) -> None:
        self.args = list(args)
        place = {"env": dict(env), "cwd": cwd or os.getcwd(), "session": session}
        request = {"args": self.args[1:], **place}
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(env[SOCKET])
        socket.send_fds(self._connection, [json.dumps(request).encode()], list(streams))
        self.pid = int(self._connection.recv(99))
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the process runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status. Raises subprocess.TimeoutExpired after `timeout` s."""
        if self._status is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._status = int(self._connection.recv(99))
        return self._status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_child(kind: str, stderr: int) -> ForkedProcess:
    """Fork a child of the server, in place of `server.tasks.start_child`."""
    from server.tasks import _environment

    (stdin, to), (output, stdout) = os.pipe(), os.pipe()
    errors, error = (None, stdout) if stderr == subprocess.STDOUT else os.pipe()
    command = [sys.executable, "-m", "server.child", kind]
    process = ForkedProcess(command, (stdin, stdout, error), _environment())
    process.stdin, process.stdout = open(to, "w"), open(output, errors="replace")  # noqa: SIM115
    process.stderr = None if errors is None else open(errors, errors="replace")  # noqa: SIM115
    for descriptor in {stdin, stdout, error}:
        os.close(descriptor)
    return process


# the nursery ------------------------------------------------------------------------------------------


def main() -> None:
    """Fork on request until standard input is closed."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in _OURS:
        importlib.import_module(name)
    assert "monailabel.app" not in sys.modules
    gc.freeze()  # or a collection in a fork copies all that was imported
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(os.environ[SOCKET])
    listener.listen()
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _watch(connection)
            return
        connection.close()
        while _reap():
            pass
    os.unlink(os.environ[SOCKET])
    os._exit(0)  # taking everything imported apart takes two seconds


def _reap() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def _watch(connection: socket.socket) -> None:
    """Fork the process asked for, and tell its id and its exit status; end when nobody listens any more."""
    message, streams, _, _ = socket.recv_fds(connection, _MAX_BYTES, 3)
    process = os.fork()
    if process == 0:
        connection.close()
        asked = json.loads(message)
        try:
            _forget(asked)
            _become(asked, streams)
        finally:  # also interrupted before it runs; C++ destructors would wait for threads that forks lack
            os._exit(1)
    for descriptor in streams:
        os.close(descriptor)
    connection.send(str(process).encode())
    ended = os.pidfd_open(process)
    if ended in select.select([ended, connection], [], [])[0]:
        connection.send(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])).encode())
    os._exit(0)


def _forget(request: Mapping[str, Any]) -> None:
    """Forget the imported modules that this process may have of another folder or with other settings."""
    env, packages = request["env"], set[str]()
    folders = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    others = any((Path(folder) / name).exists() for folder in folders for name in _PACKAGES)
    if others or request["cwd"] != os.getcwd():
        packages.update(_PACKAGES)
    if "monailabel.main" in request["args"] and any(name.startswith(_SETTINGS) for name in env):
        packages.update(_PACKAGES, ["monailabel"])
    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            del sys.modules[name]


def _become(request: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Run the module in this process, and end it."""
    if request["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["env"])
    if _SERVER_PID in os.environ:
        os.environ[_SERVER_PID] = str(os.getppid())  # ends when the server does
    os.chdir(request["cwd"])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [request["cwd"], *filter(None, paths)]
    if config := sys.modules.get("monailabel.config"):
        config.settings.__init__()  # reads the environment again, in place
    option, code, *rest = request["args"]
    sys.argv = [code if option == "-m" else option, *rest]
    if code == "monailabel.main":
        importlib.import_module("server.tasks")
        for name in _STARTERS & set(sys.modules):
            sys.modules[name].start_child = start_child  # type: ignore[attr-defined]
    _end(_run(option, code))


def _run(option: str, code: str) -> int:
    """Run a module as `python -m` does, or code as `python -c` does; return the exit status."""
    try:
        if option == "-m":
            runpy.run_module(code, run_name="__main__", alter_sys=True)
        else:
            exec(code, {"__name__": "__main__"})
        return 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1


def _end(status: int) -> None:
    """End as the interpreter does, but without C++ destructors, which wait for threads that forks lack."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
