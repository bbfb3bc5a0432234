"""Tasks that the server runs in child processes: trainings, refreshes, batch inference.

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
from typing import Any

import psutil

logger = logging.getLogger(__name__)
_MAX_LINES = 20  # of a child's output, shown as the task's details
_MAX_ENDED = 100  # ended tasks kept of each kind
_WAITING, _RUNNING = "SUBMITTED", "RUNNING"


class Tasks:
    """Task queues, one per kind (`server.child.KINDS`), each with one child at a time; thread-safe.

    A task is a dict as MONAI Label's clients expect it: id, status (SUBMITTED, RUNNING, DONE, ERROR,
    STOPPED), request, start_ts, end_ts, details (the last lines of its output).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, list[dict[str, Any]]] = {}
        self._queues: dict[str, queue.SimpleQueue[dict[str, Any]]] = {}
        self._children: dict[str, subprocess.Popen[str]] = {}  # by task id

    def start(self, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Queue a task, and return it."""
        task = {"id": str(uuid.uuid4()), "status": _WAITING, "request": dict(request), "start_ts": _now()}
        with self._lock:
            tasks = self._tasks.setdefault(kind, [])
            ended = [other for other in tasks if other["status"] not in (_WAITING, _RUNNING)]
            tasks[:] = [other for other in tasks if other not in ended[:-_MAX_ENDED]] + [task]
            if kind not in self._queues:
                self._queues[kind] = queue.SimpleQueue()
                threading.Thread(target=self._run_queue, args=(kind,), name=kind, daemon=True).start()
            self._queues[kind].put(task)
        return task

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return the tasks of a kind since the server started, oldest first."""
        with self._lock:
            return [dict(task, details=list(task.get("details", ()))) for task in self._tasks.get(kind, ())]

    def running(self, kind: str) -> dict[str, Any] | None:
        """Return the running task of a kind, or None."""
        return next((task for task in self.all(kind) if task["status"] == _RUNNING), None)

    def busy(self, kind: str) -> bool:
        """Return whether a task of this kind is running or queued."""
        return any(task["status"] in (_WAITING, _RUNNING) for task in self.all(kind))

    def stop(self, kind: str) -> dict[str, Any] | None:
        """Stop the running task and its processes; return the task, or None when none is running."""
        with self._lock:
            task = next(
                (candidate for candidate in self._tasks.get(kind, ()) if candidate["status"] == _RUNNING),
                None,
            )
            child = self._children.get(task["id"]) if task else None
            if task is None or child is None:
                return None
            task |= {"status": "STOPPED", "end_ts": _now()}
        logger.info("Stopping %s %s", kind, task["id"])
        _kill_tree(child.pid)
        return next(candidate for candidate in self.all(kind) if candidate["id"] == task["id"])

    def _run_queue(self, kind: str) -> None:
        while True:
            task = self._queues[kind].get()
            try:
                self._run(kind, task)
            except Exception as error:  # the queue must survive a machine without memory for another process
                logger.exception("The task %s %s failed", kind, task["id"])
                self._end(task, "ERROR", str(error))

    def _run(self, kind: str, task: dict[str, Any]) -> None:
        logger.info("Starting %s %s: %s", kind, task["id"], task["request"])
        command = [sys.executable, "-m", "server.child", kind]
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_environment(),
        )
        with self._lock:
            self._children[task["id"]] = child
            task |= {"status": _RUNNING, "details": deque(maxlen=_MAX_LINES)}
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps(task["request"]))
            child.stdin.close()
        except BrokenPipeError:
            logger.warning("The child of %s %s ended before it read its request", kind, task["id"])
        output = logging.getLogger(f"task_{kind}")
        for line in child.stdout:
            if line := line.rstrip():
                output.info(line)
                with self._lock:
                    task["details"].append(line)
        self._end(task, "ERROR" if child.wait() else "DONE")

    def _end(self, task: dict[str, Any], status: str, detail: str = "") -> None:
        with self._lock:
            self._children.pop(task["id"], None)
            if task["status"] in (_WAITING, _RUNNING):
                task |= {"status": status, "end_ts": _now()}
            if detail:
                task["details"] = [*task.get("details", ()), detail]


def _environment() -> dict[str, str]:
    """Drop empty entries of PYTHONPATH, as MONAI Label adds: they would mean the current folder."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, entries))}


def _kill_tree(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        for member in [*process.children(recursive=True), process]:
            member.kill()
    except psutil.NoSuchProcess:
        return


def _now() -> str:
    return datetime.today().strftime("%Y-%m-%d %H:%M:%S")
