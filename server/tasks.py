"""Tasks as MONAI Label's clients see them; trainings and batch inferences run in child processes.

MONAI Label itself merges a request into the child's environment and command line, where a client could
name a folder of Python files. Here the request is checked first and reaches its child by stdin.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import uuid
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import IO, Any

import psutil

logger = logging.getLogger(__name__)
_MAX_LINES = 20  # of a process's output, shown as the task's details
_MAX_ENDED = 100  # ended tasks kept of each kind
_WAITING, _RUNNING = "SUBMITTED", "RUNNING"
Task = dict[str, Any]


class Tasks:
    """Tasks of each kind, one running at a time; thread-safe.

    A task is a dict as MONAI Label's clients expect it: id, status (SUBMITTED, RUNNING, DONE, ERROR,
    STOPPED), request, start_ts, end_ts, details (the last lines of its output). Trainings and batch
    inference (`server.child.KINDS`) have a queue and a child process each; `server.worker` runs and records
    the refreshes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, list[Task]] = {}
        self._queues: dict[str, queue.SimpleQueue[Task]] = {}
        self._processes: dict[str, int] = {}  # by task id: process id

    def start(self, kind: str, request: Mapping[str, Any]) -> Task:
        """Queue a task for a child process, and return it."""
        task = self.add(kind, request)
        with self._lock:
            if kind not in self._queues:
                self._queues[kind] = queue.SimpleQueue()
                threading.Thread(target=self._run_queue, args=(kind,), name=kind, daemon=True).start()
            self._queues[kind].put(task)
        return task

    def all(self, kind: str) -> list[Task]:
        """Return the tasks of a kind since the server started, oldest first."""
        with self._lock:
            return [dict(task, details=list(task.get("details", ()))) for task in self._tasks.get(kind, ())]

    def running(self, kind: str) -> Task | None:
        """Return the running task of a kind, or None."""
        return next((task for task in self.all(kind) if task["status"] == _RUNNING), None)

    def busy(self, kind: str) -> bool:
        """Return whether a task of this kind is running or queued."""
        return any(task["status"] in (_WAITING, _RUNNING) for task in self.all(kind))

    def stop(self, kind: str) -> Task | None:
        """Stop the running task and its processes; return the task, or None when none is running."""
        with self._lock:
            task = next(
                (candidate for candidate in self._tasks.get(kind, ()) if candidate["status"] == _RUNNING),
                None,
            )
            process = self._processes.get(task["id"]) if task else None
            if task is None or process is None:
                return None
            task |= {"status": "STOPPED", "end_ts": _now()}
        logger.info("Stopping %s %s", kind, task["id"])
        kill_tree(process)
        return next(candidate for candidate in self.all(kind) if candidate["id"] == task["id"])

    # what those who run tasks record --------------------------------------------------------------------

    def add(self, kind: str, request: Mapping[str, Any]) -> Task:
        """Record a submitted task, and return it."""
        task = {"id": str(uuid.uuid4()), "status": _WAITING, "request": dict(request), "start_ts": _now()}
        with self._lock:
            tasks = self._tasks.setdefault(kind, [])
            ended = [other for other in tasks if other["status"] not in (_WAITING, _RUNNING)]
            tasks[:] = [other for other in tasks if other not in ended[:-_MAX_ENDED]] + [task]
        return task

    def begin(self, task: Task, process: int) -> None:
        """Record that a process works on a task."""
        with self._lock:
            self._processes[task["id"]] = process
            task |= {"status": _RUNNING, "details": deque(maxlen=_MAX_LINES)}

    def add_line(self, task: Task, line: str) -> None:
        """Record a line of a running task's output."""
        with self._lock:
            task["details"].append(line)

    def end(self, task: Task, status: str, detail: str = "") -> None:
        """Record the end of a task; one that was stopped stays STOPPED."""
        with self._lock:
            self._processes.pop(task["id"], None)
            if task["status"] in (_WAITING, _RUNNING):
                task |= {"status": status, "end_ts": _now()}
            if detail:
                task["details"] = [*task.get("details", ()), detail]

    # children -------------------------------------------------------------------------------------------

    def _run_queue(self, kind: str) -> None:
        while True:
            task = self._queues[kind].get()
            try:
                self._run(kind, task)
            except Exception as error:  # the queue must survive a machine without memory for another process
                logger.exception("The task %s %s failed", kind, task["id"])
                self.end(task, "ERROR", str(error))

    def _run(self, kind: str, task: Task) -> None:
        logger.info("Starting %s %s: %s", kind, task["id"], task["request"])
        child = start_child(kind, stderr=subprocess.STDOUT)
        logger.info("The %s is process %d", kind, child.pid)
        self.begin(task, child.pid)
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps(task["request"]))
            child.stdin.close()
        except BrokenPipeError:
            logger.warning("The child of %s %s ended before it read its request", kind, task["id"])
        for line in log_lines(kind, child.stdout):
            self.add_line(task, line)
        self.end(task, "ERROR" if child.wait() else "DONE")


def start_child(kind: str, stderr: int) -> subprocess.Popen[str]:
    """Start `python -m server.child KIND` with pipes. Raises OSError."""
    return subprocess.Popen(
        [sys.executable, "-m", "server.child", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",
        env=_environment(),
    )


def log_lines(kind: str, output: IO[str]) -> Any:
    """Log a process's output, and yield its lines, until it ends."""
    task_logger = logging.getLogger(f"task_{kind}")
    for line in output:
        if line := line.rstrip():
            task_logger.info(line)
            yield line


def _environment() -> dict[str, str]:
    """Drop empty entries of PYTHONPATH, as MONAI Label adds: they would mean the current folder."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, entries))}


def kill_tree(pid: int) -> None:
    """Kill a process and all that it started."""
    try:
        process = psutil.Process(pid)
        for member in [*process.children(recursive=True), process]:
            member.kill()
    except psutil.NoSuchProcess:
        return


def _now() -> str:
    return datetime.today().strftime("%Y-%m-%d %H:%M:%S")
