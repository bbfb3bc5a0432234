"""Processor time of starting: imports and commands in fresh processes; part of `python -m benchmarks.speed`.

The plain way of a command is the same command on the same app that MONAI Label builds first: its copy imports
one more module, which makes `scan-selection` build it.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import requests

from benchmarks.phantoms.generate import generate
from benchmarks.server_process import ROOT, Server
from benchmarks.speed.row import Row

_REPEATS = 5
_COUNT = 16  # images of the pool
_APP = "cxr_lungs"
_COMMANDS = ("status", "plan", "retry", "skip", "next", "hold-out", "unmark")
_WITHOUT_IMAGES = ("status", "plan", "retry")
_LIMIT = 2.0  # processor seconds of a command
_IMPORT_SERVER = "import time, monailabel.app; print(time.process_time())"  # without the end of the process
_MAX_SERVER = 1.2  # processor seconds of a server up to its first answer, by those of the import


def run_seconds(arguments: list[str], repeats: int = _REPEATS) -> tuple[float, str]:
    """Return the median processor seconds, user and system, of a Python process, and its last output.

    Raises RuntimeError with the output of a process that fails.
    """
    seconds, output = [], ""
    for _ in range(repeats):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stderr or done.stdout}")
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        output = done.stdout
    return statistics.median(seconds), output


def _import(module: str, beside: str, limit: float | None, quick: bool) -> Row:
    """Time an import; with `beside`, that of both modules against that one alone."""
    repeats = 1 if quick else _REPEATS
    names = f"{beside}, {module}" if beside else module
    ours, _ = run_seconds(["-c", f"import {names}"], repeats)
    baseline = run_seconds(["-c", f"import {beside}"], repeats)[0] if beside else None
    return Row(
        f"A process that imports {module}",
        f"{beside} alone" if beside else "none",
        f"import {names}",
        baseline,
        ours,
        "",
        limit_s=limit,
    )


@lru_cache(maxsize=1)
def _pool() -> tuple[TemporaryDirectory[str], Path]:
    """Make a prepared pool, and a copy of its app that must be built; kept as long as the process."""
    holder = TemporaryDirectory()
    folder = Path(holder.name)
    generate(folder, count=_COUNT, seed=1, size=128)
    (folder / "built").mkdir()
    source = (ROOT / "apps" / _APP / "main.py").read_text()
    (folder / "built" / "main.py").write_text(source.replace("\nclass ", "\nimport json\n\nclass ", 1))
    run_seconds(_line(folder, ROOT / "apps" / _APP, "prepare"), 1)
    return holder, folder


def _line(folder: Path, app: Path, command: str) -> list[str]:
    images = [] if command in (*_WITHOUT_IMAGES, "prepare") else ["phantom_003"]
    place = ["--app", str(app), "--studies", str(folder / "studies")]
    conf = ["--conf", f"state={folder / 'state'}", "--conf", "cold_start_budget=4"]
    return ["-m", "server.cli", command, *images, *place, *conf]


def _command(command: str, quick: bool) -> Row:
    _, folder = _pool()
    plain, ours = (_line(folder, app, command) for app in (folder / "built", ROOT / "apps" / _APP))
    ours_s, output = run_seconds(ours, 1 if quick else _REPEATS)
    built_s, expected = run_seconds(plain, 1)
    same = _without_times(output) == _without_times(expected)
    return Row(
        f"scan-selection {command}, a pool of {_COUNT} images",
        "the app is built first, once",
        "the bundle's name is read from main.py",
        built_s,
        ours_s,
        "the same answer" if same else "another answer",
        limit_s=_LIMIT,
    )


def _server_answer(quick: bool) -> Row:
    """Time a server on a prepared pool up to its first hand-out, without its worker, against the import."""
    _, folder = _pool()
    repeats = 1 if quick else _REPEATS
    imported, seconds = [], []
    for _ in range(repeats):
        _, output = run_seconds(["-c", _IMPORT_SERVER], 1)
        imported.append(float(output.splitlines()[-1]))
        conf = {"state": folder / "state", "cold_start_budget": 4}
        with Server(_APP, folder / "studies", conf, folder / "server.log") as server:
            server.wait()
            requests.post(f"{server.url}/activelearning/auto", json={}, timeout=60).raise_for_status()
            times = psutil.Process(server.process.pid).cpu_times()
        seconds.append(times.user + times.system)
    return Row(
        f"A server that answers its first next_sample, a pool of {_COUNT} images",
        "import monailabel.app alone, up to its end",
        "the server's process, without its worker",
        statistics.median(imported),
        statistics.median(seconds),
        "",
        goal=1 / _MAX_SERVER,
    )


def _without_times(output: str) -> list[str]:
    """Return the lines of an answer without the progress, which says how long ago it was made."""
    return [line for line in output.splitlines() if not line.startswith("progress")]


def _named(name: str, compare: Callable[..., Row], *arguments: object) -> Callable[[bool], Row]:
    """Give a comparison with arguments the name that its row is kept under."""
    named = partial(compare, *arguments)
    named.__name__ = name  # type: ignore[attr-defined]
    return named


COMPARISONS = (
    _named("import_selectors", _import, "strategies.selectors", "", None),
    _named("import_context", _import, "strategies.context", "", 1.5),
    _named("import_server", _import, "server.app", "monailabel.app", None),
    _named("server_answer", _server_answer),
    *(_named(command.replace("-", "_"), _command, command) for command in _COMMANDS),
)
