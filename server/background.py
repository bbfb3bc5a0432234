"""Keeps the pool up to date from the server process: starts `refresh` when, and only when, it has work.

Refreshes run one after the other in child processes. Nothing is ever requested over HTTP: a request to
itself fails or deadlocks (the server's endpoints are synchronous inside its event loop).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from infers.segmentation.task import model_fingerprint
from pool.database.state import State
from server.open_pool import trains_now
from server.tasks import Tasks

logger = logging.getLogger(__name__)
_TICK = 1.0  # seconds between looks at the cheap signs: a training that ended, a new model file
_AGAIN = 2.0  # seconds until the next look while refresh runs: what came meanwhile may be more work
_SAFETY = 30.0  # seconds between looks at everything, and before a refresh that failed is tried again
_REST = 20.0  # a look at everything is followed by this many times its duration without one
_SERVER = "SCAN_SELECTION_SERVER_PID"  # tells a child process whose child it is


class Background(threading.Thread):
    """A thread that starts `refresh` when `missing` names work.

    :param missing: names the steps that have work to do
    :param labelled: number of final labels
    :param tasks: starts trainings and refreshes
    :param training_due: whether a training should start by itself, given the final labels that the last one
        started from (None before the first)
    """

    def __init__(
        self,
        state: State,
        missing: Callable[[], list[str]],
        labelled: Callable[[], int],
        training_due: Callable[[int | None], bool],
        tasks: Tasks,
    ) -> None:
        super().__init__(name="background", daemon=True)
        self._tasks = tasks
        self._state, self._missing = state, missing
        self._labelled, self._training_due = labelled, training_due
        self._trained: int | None = None  # final labels when a training was last started by itself
        self._wake = threading.Event()
        self._next_look = self._refreshed = self._rested = 0.0
        self._paused: dict[str, float] = {}  # work that failed, and when it is tried again
        self._published: list[str | None] = []  # fingerprints of the models
        os.environ[_SERVER] = str(os.getpid())  # child processes inherit it
        self._training: tuple[str, int] | None = None  # the task's id, its number in the journal
        self._expected: int | None = None

    def wake(self) -> None:
        """Something changed: look now."""
        self._wake.set()

    def expect(self, training: int) -> None:
        """The next training is the one recorded under this number: a kill interrupted it."""
        self._expected = training

    def run(self) -> None:
        while True:
            if self._wake.wait(_TICK):
                self._next_look = 0.0
            self._wake.clear()
            for work in (self._watch_training, self._train, self._watch_model, self._look):
                if time.monotonic() < self._paused.get(work.__name__, 0.0):
                    continue
                try:
                    work()
                except Exception:  # the thread must outlive a full disk or a database that is down
                    logger.exception("Background work failed; trying again in %g s", _SAFETY)
                    self._paused[work.__name__] = time.monotonic() + _SAFETY

    def _watch_training(self) -> None:
        """Keep the record of the training that runs, so that a killed server starts it again."""
        trainings = {task["id"]: task for task in self._tasks.all("train")}
        if self._training and (status := trainings[self._training[0]]["status"]) != "RUNNING":
            self._state.trainings.end(status, self._training[1])
            self._training = None
        current = self._tasks.running("train")
        if self._training is None and current:
            number, self._expected = self._expected, None
            if number is None:
                number = self._state.trainings.start(current["request"], self._labelled())
            self._training = (current["id"], number)

    def _train(self) -> None:
        """Start a training by itself when one is due and none runs; one that is due meanwhile comes after."""
        if self._tasks.busy("train"):
            return
        last = self._state.trainings.labels_of_last()
        known = [count for count in (last, self._trained) if count is not None]
        if self._training_due(max(known, default=None)) and not trains_now(self._state.folder):
            labelled = self._labelled()
            logger.info("Training by itself, from %d labels", labelled)
            self._tasks.start("train", {"model": "segmentation"})
            self._trained = labelled

    def _watch_model(self) -> None:
        files = (self._state.folder / name for name in ("model.pt", "pretrained.pt"))
        published = [model_fingerprint(file) for file in files]
        if published != self._published:
            self._published, self._next_look = published, 0.0

    def _look(self) -> None:
        """Start refresh when it has work and none runs; one that failed is left alone for a while."""
        now, last = time.monotonic(), (self._tasks.all("scoring") or [{"status": "NONE"}])[-1]
        if now < max(self._next_look, self._rested):
            return
        self._next_look = now + _SAFETY
        if self._tasks.busy("scoring"):
            self._next_look = now + _AGAIN
        elif last["status"] == "ERROR" and now - self._refreshed < _SAFETY:
            self._next_look = self._refreshed + _SAFETY
        elif steps := self._look_through():
            logger.info("Background work: %s", ", ".join(steps))
            self._refreshed, self._next_look = now, now + _AGAIN
            self._tasks.start("scoring", {"method": "refresh"})

    def _look_through(self) -> list[str]:
        """What is missing. In a large pool finding out takes a while, so that it is done less often there."""
        started = time.monotonic()
        steps = self._missing()
        ended = time.monotonic()
        self._rested = ended + _REST * (ended - started)
        return steps


def end_with_parent() -> None:
    """End this child process within a second of its server's death; its work resumes with the next server.

    A process that no server started, such as a command of `server.cli.main`, is nobody's child.
    """
    if _SERVER not in os.environ:
        return
    server = int(os.environ[_SERVER])

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
