"""Tasks in child processes: start, end and stop, and the survival of their failures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool.database.state import State
from server import tasks as tasks_module
from server.tasks import Tasks, _environment
from server.worker import Worker


def until(true: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tasks:
    """Let children run a script of the test instead of `python -m server.child`."""
    script = tmp_path / "python"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys, time\n"
        "request = json.load(sys.stdin)\n"
        "print('asked', sys.argv[1:], sorted(request), flush=True)\n"
        "time.sleep(request.get('seconds', 0))\n"
        "sys.exit(request.get('code', 0))\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(tasks_module.sys, "executable", str(script))
    return Tasks()


def status(tasks: Tasks, kind: str = "train") -> list[str]:
    return [task["status"] for task in tasks.all(kind)]


def test_tasks_run_one_after_the_other_in_their_queue(tasks: Tasks) -> None:
    first = tasks.start("train", {"model": "m", "seconds": 0.3})
    tasks.start("train", {"model": "m", "code": 3})
    tasks.start("batch_infer", {"model": "m"})
    assert tasks.busy("train") and not tasks.busy("scoring")
    until(lambda: tasks.running("train"))
    assert status(tasks)[1] == "SUBMITTED"
    until(lambda: status(tasks) == ["DONE", "ERROR"] and status(tasks, "batch_infer") == ["DONE"])
    newest = tasks.all("train")[0]
    assert newest["id"] == first["id"] and newest["end_ts"] >= newest["start_ts"]
    assert newest["details"] == ["asked ['-m', 'server.child', 'train'] ['model', 'seconds']"]
    assert tasks.running("train") is None and not tasks.busy("train")


def test_a_task_is_stopped_and_the_next_one_goes_on(tasks: Tasks) -> None:
    assert tasks.stop("train") is None
    tasks.start("train", {"seconds": 600})
    tasks.start("train", {})
    until(lambda: tasks.running("train") and tasks.running("train")["details"])
    stopped = tasks.stop("train")
    assert stopped is not None and stopped["status"] == "STOPPED"
    until(lambda: status(tasks) == ["STOPPED", "DONE"])


def test_a_child_that_cannot_start_or_reads_nothing_stops_no_queue(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tasks_module.sys.executable
    monkeypatch.setattr(tasks_module.sys, "executable", "/nowhere/python")
    tasks.start("train", {})
    until(lambda: status(tasks) == ["ERROR"])
    assert "No such file" in tasks.all("train")[0]["details"][0]
    monkeypatch.setattr(tasks_module.sys, "executable", "/bin/false")
    tasks.start("train", {"much": "x" * 1_000_000})
    until(lambda: status(tasks) == ["ERROR", "ERROR"])
    monkeypatch.setattr(tasks_module.sys, "executable", good)
    tasks.start("train", {})
    until(lambda: status(tasks)[-1] == "DONE")


def test_old_tasks_are_forgotten(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "_MAX_ENDED", 2)
    ids = []
    for _ in range(5):
        ids.append(tasks.start("batch_infer", {})["id"])
        until(lambda: not tasks.busy("batch_infer"))
    assert [task["id"] for task in tasks.all("batch_infer")] == ids[-3:]


def test_the_current_folder_is_no_place_for_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}/app{os.pathsep}")
    assert _environment()["PYTHONPATH"] == "/app"
    monkeypatch.delenv("PYTHONPATH")
    assert {k: v for k, v in _environment().items() if k != "PYTHONPATH"} == dict(os.environ)


def test_a_worker_that_keeps_ending_is_started_again_ever_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tasks_module.sys, "executable", "/bin/false")
    progress = State(tmp_path, migrate=True).progress
    worker = Worker(Tasks(), progress, 2**30)
    worker.start()
    until(lambda: (progress.get() or {"error": None})["error"])
    worker.close()
    worker.join(30)
    row = progress.get()
    assert row is not None and row["error"] == "the worker keeps ending: exit code 1"
    pauses = [record.args[1] for record in caplog.records if "is started again" in record.message]
    assert pauses == [1, 2, 4]
