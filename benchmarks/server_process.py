"""A real MONAI Label server in its own process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import requests

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """Return a port on 127.0.0.1 that nothing is listening on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`monailabel start_server`, reached at 127.0.0.1.

    :param app: name of a folder in `apps`, or a path
    :param conf: `--conf` pairs
    :param env: environment variables added to this process's own
    :param host: the address to listen on
    :param words: further words of the command line
    """

    def __init__(
        self,
        app: str,
        studies: Path,
        conf: Mapping[str, Any],
        log: Path,
        port: int = 0,
        env: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        words: Sequence[str] = (),
    ) -> None:
        folder = Path(app) if (Path(app) / "main.py").exists() else ROOT / "apps" / app
        self.port, self.log = port or free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            sys.executable,
            "-m",
            "monailabel.main",
            "start_server",
            "--app",
            str(folder),
            "--studies",
            str(studies),
            "--host",
            host,
            "--port",
            str(self.port),
            *words,
        ]
        for key, value in conf.items():
            command += ["--conf", key, str(value)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as output:
            self.process = self.launch(command, output, {**os.environ, **(env or {})})

    @staticmethod
    def launch(command: Sequence[str], output: IO[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the server's process in a session of its own."""
        return subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=env
        )

    def wait(self, seconds: float = 180) -> None:
        """Wait until the server answers; a request for a token (401) counts.

        Raises RuntimeError with the end of the log if the server stopped or took too long.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                answer = requests.get(f"{self.url}/info/", timeout=5)
                if answer.status_code != 401:
                    answer.raise_for_status()
                return
            except requests.RequestException:
                time.sleep(0.3)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])
        self.stop()
        raise RuntimeError(f"the server did not start; {self.log} ends with:\n{tail}")

    def stop(self, kill: bool = False) -> None:
        """Stop the server and its children as Ctrl-C would; `kill` kills the server alone, like a crash."""
        if self.process.poll() is None:
            if kill:
                self.process.kill()
            else:
                os.killpg(self.process.pid, signal.SIGINT)
                try:
                    self.process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def running(app: str, studies: Path, conf: Mapping[str, Any], log: Path) -> Iterator[Server]:
    """Run a server for the duration of a `with` block; it answers when the block starts.

    All labels are trained on, unless `conf` says `hold_out`.
    """
    with Server(app, studies, {"hold_out": 0, **conf}, log) as server:
        server.wait()
        yield server
