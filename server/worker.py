"""The worker: one process that brings the pool up to date, and the thread that keeps it running.

The process (`server.child.serve`) imports everything once and then waits for requests, so that work starts
within a second of a change. It is started with the server, ends with it, and is replaced when it dies.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pool.database.trainings import Progress
from server.tasks import Task, Tasks, kill_tree, log_lines, start_child

logger = logging.getLogger(__name__)
KIND = "scoring"
_READY = "ready"  # progress when there is nothing to do
_TICK = 1.0  # seconds between checks of an idle process
_RETRY_SECONDS = 30.0  # before work that failed is tried again
_MAX_PAUSE = 60.0  # seconds before a process that keeps dying is started again
_DEATHS_TO_REPORT = 3  # in a row, from which clients are told that the pool cannot be prepared
_REST_FACTOR = 2.0  # after a look for work, wait this many times its duration before the next one,
_MIN_REST = 0.3  # but at least this many seconds, as clicks may wake the worker often


class Worker(threading.Thread):
    """Runs refreshes in one persistent process, each as a task that clients can see and stop.

    :param tasks: records the refreshes
    :param progress: tells clients why the process is being restarted
    :param done: called after each run, whose results the server takes in
    :param max_bytes: memory past which the process is replaced, between two steps of a refresh
    """

    def __init__(
        self, tasks: Tasks, progress: Progress, max_bytes: int, done: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(name="worker", daemon=True)
        self._tasks, self._progress, self._max_bytes, self._done = tasks, progress, max_bytes, done
        self._event, self._closed = threading.Event(), threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._submitted: deque[Task] = deque()
        self._is_awake = False  # True if there may be work
        self._retry_at = self._rest_until = self._again_at = 0.0
        self._repeated, self._last_steps = 0, list[str]()  # runs in a row with the same steps
        self._deaths = 0  # in a row, without a completed run between them
        self._current: Task | None = None
        self._is_stopped = False  # True if a client stopped the run, and so the process

    def wake(self) -> None:
        """Look for work, as the pool may have changed."""
        self._is_awake, self._again_at = True, 0.0
        self._event.set()

    def submit(self, request: Mapping[str, Any]) -> Task:
        """Queue a run that a client asks for, and return its task."""
        task = self._tasks.add(KIND, request)
        self._submitted.append(task)
        self._event.set()
        return task

    def close(self) -> None:
        """End the process for good, as the server is stopping."""
        self._closed.set()
        if self._process:
            kill_tree(self._process.pid)

    def run(self) -> None:
        while not self._closed.is_set():
            try:
                reason = self._run_process()
            except OSError as error:  # no memory for another process
                reason = str(error)
            except Exception as error:  # the thread must survive
                logger.exception("The worker failed")
                reason = f"{type(error).__name__}: {error}"
            if reason and not self._closed.is_set():
                self._pause(reason)

    def _run_process(self) -> str:
        """Start a process, serve it until it ends, and return the reason; "" if that was asked for."""
        self._is_stopped = False
        process = self._process = start_child("worker", stderr=subprocess.PIPE)
        logger.info("The worker is process %d", process.pid)
        threading.Thread(target=self._read_log, args=(process,), name="worker-log", daemon=True).start()
        self._serve(process)
        reason = _reason_of(process.wait())
        return "" if self._is_stopped else reason

    def _serve(self, process: subprocess.Popen[str]) -> None:
        """Send requests to the process until it ends."""
        while True:
            self._event.wait(min(_TICK, self._rest()) if self._is_awake else _TICK)
            self._event.clear()
            if process.poll() is not None:
                return
            task = self._submitted.popleft() if self._submitted else None
            if (task or self._is_due()) and not self._request(process, task):
                return

    def _rest(self) -> float:
        """Return the seconds until the process may look for work again."""
        return max(0.0, max(self._retry_at, self._rest_until, self._again_at) - time.monotonic())

    def _is_due(self) -> bool:
        return self._is_awake and not self._rest()

    def _request(self, process: subprocess.Popen[str], task: Task | None) -> bool:
        """Let the process do a task, or without one what is due; return False if it ended meanwhile."""
        request = dict(task["request"]) if task else {"method": "refresh", "if_due": True}
        self._is_awake = False
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps({**request, "max_bytes": self._max_bytes}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:  # it has just ended: the next one does this
            self._is_awake = True
            self._submitted.extendleft([task] if task else [])
            return False
        for line in process.stdout:
            reply = json.loads(line)
            if "seconds" in reply:
                self._rest_until = time.monotonic() + max(_MIN_REST, _REST_FACTOR * reply["seconds"])
            if "steps" in reply:
                if task is None:
                    logger.info("Background work: %s", ", ".join(reply["steps"]))
                task = self._current = task or self._tasks.add(KIND, request)
                self._tasks.begin(task, process.pid)
            else:
                self._finish(task, reply)
                return True
        self._current, self._is_awake = None, True
        if task:
            self._tasks.end(task, "ERROR", _reason_of(process.wait()))
            self._is_stopped = task["status"] == "STOPPED"
        return False

    def _finish(self, task: Task | None, reply: Mapping[str, Any]) -> None:
        """Record the end of a run, or of a look that found nothing to do."""
        self._current, self._deaths = None, 0
        if error := reply.get("error"):
            self._retry_at, self._is_awake = time.monotonic() + _RETRY_SECONDS, True
            if task:
                self._tasks.end(task, "ERROR", error)
            return
        if task is None:
            self._repeated, self._last_steps = 0, []
            if (self._progress.get() or {"step": _READY})["step"] != _READY:  # of a run that failed
                self._progress.set(_READY, 0, 0, time.time())
            return
        self._tasks.end(task, "DONE")
        self._done()
        steps = reply.get("result", {}).get("steps", [])
        self._repeated = self._repeated + 1 if steps == self._last_steps else 0
        self._last_steps, self._is_awake = steps, True
        self._again_at = time.monotonic() + min(_RETRY_SECONDS, self._repeated)

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in log_lines(KIND, process.stderr):
            if (task := self._current) is not None:
                self._tasks.add_line(task, line)

    def _pause(self, reason: str) -> None:
        """Tell clients why the process ended, and wait, the longer the more often it has."""
        self._deaths += 1
        seconds = min(_MAX_PAUSE, 2.0 ** (self._deaths - 1))
        logger.error("The worker ended (%s); it is started again in %g s", reason, seconds)
        error = f"the worker keeps ending: {reason}" if self._deaths >= _DEATHS_TO_REPORT else None
        try:
            self._progress.set(f"starting again after the worker ended ({reason})", 0, 0, time.time(), error)
        except Exception:
            logger.exception("The pool's progress cannot be written")
        self._closed.wait(seconds)


def _reason_of(code: int) -> str:
    """Explain an exit code; "" for an end that was asked for."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}" + (", out of memory?" if code == -9 else "")
    return f"exit code {code}" if code else ""
