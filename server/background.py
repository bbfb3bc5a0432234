"""Background work of the server process: notice changes, wake the worker, start trainings that are due.

Nothing is requested over HTTP: a server that calls itself fails or deadlocks (its endpoints are synchronous
inside the event loop).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from infers.fingerprints import model_fingerprint
from pool.database.state import State
from server.open_pool import trains_now
from server.tasks import Tasks

logger = logging.getLogger(__name__)
_TICK = 1.0  # seconds between cheap checks: has a training ended, is there a new model file
_CHECK_SECONDS = 30.0  # between looks at the pool without a known change; longest before a retry
_CHECK_WHILE_BUSY = 2.0  # seconds between looks while the worker is at work, whose results come in
_REST_FACTOR = 10.0  # after a look at the pool, wait at least this many times the processor time it took
_OPEN = ("SUBMITTED", "RUNNING")  # states of a task that has not ended
_SERVER_PID = "SCAN_SELECTION_SERVER_PID"  # environment variable that tells a child its server


class Background(threading.Thread):
    """Thread that notices changes of the pool.

    :param look: takes in changes of the pool, so that the worker sees them
    :param wake_worker: lets the worker look for work
    :param labelled: returns the number of final labels
    :param tasks: starts trainings
    :param training_due: whether a training should start automatically, given the number of final labels the
        last one started from (None before the first)
    :param look_for_labels: takes in labels that another server of the pool has saved; called every second
    :param back_up: makes a backup when one is due; called every second
    """

    def __init__(
        self,
        state: State,
        look: Callable[[], None],
        wake_worker: Callable[[], None],
        labelled: Callable[[], int],
        training_due: Callable[[int | None], bool],
        tasks: Tasks,
        look_for_labels: Callable[[], None],
        back_up: Callable[[], None],
    ) -> None:
        super().__init__(name="background", daemon=True)
        self._tasks, self._state = tasks, state
        self._look, self._wake_worker = look, wake_worker
        self._look_for_labels, self._back_up, self._loss = look_for_labels, back_up, ""
        self._labelled, self._training_due = labelled, training_due
        self._trained: int | None = None  # final labels at the last automatic start of a training
        self._wake = threading.Event()
        self._next_look = self._rest_until = 0.0
        self._pauses: dict[Callable[[], None], float] = {}  # seconds between attempts at work that fails
        self._again: dict[Callable[[], None], float] = {}  # when to try it again
        self._published: list[str | None] = []  # fingerprints of the models
        os.environ[_SERVER_PID] = str(os.getpid())  # inherited by child processes
        self._recording = threading.Lock()
        self._training: tuple[str, int] | None = None  # task id, and number of the recorded training
        self._expected: int | None = None

    def wake(self) -> None:
        """Look at the pool now, as something has changed."""
        self._wake.set()

    def record_training(self) -> None:
        """Record a training that has been started, at once: a kill a moment later must not lose it."""
        self._try(self._watch_training)

    def expect(self, training: int) -> None:
        """Count the next training as the recorded one of this number, which a kill interrupted."""
        self._expected = training

    def run(self) -> None:
        while True:
            if self._wake.wait(self._rest() or _TICK):
                self._next_look = 0.0
            self._wake.clear()
            for work in (
                self._watch_state,
                self._watch_training,
                self._train_if_due,
                self._watch_models,
                self._look_for_labels,
                self._look_at_pool,
                self._back_up,
            ):
                is_lost = bool(self._loss) and work != self._watch_state  # it may be another pool's
                if not is_lost and time.monotonic() >= self._again.get(work, 0.0):
                    self._try(work)

    def _rest(self) -> float:
        """Return the seconds until a look at the pool that is due, at most a tick; 0 if none is."""
        now = time.monotonic()
        return 0.0 if now < self._next_look else min(_TICK, max(0.0, self._rest_until - now))

    def _try(self, work: Callable[[], None]) -> None:
        """Do work; try again when it fails, after a pause that doubles each time."""
        try:
            work()
        except Exception:  # the thread must survive a full disk or a database that is down
            pause = min(_CHECK_SECONDS, 2 * self._pauses.get(work, _TICK / 2))
            logger.exception("Background work failed; trying again in %g s", pause)
            self._pauses[work], self._again[work] = pause, time.monotonic() + pause
        else:
            self._pauses.pop(work, None)

    def _watch_training(self) -> None:
        """Record the training that runs or is about to, so that it is restarted if the server is killed."""
        with self._recording:
            trainings = {task["id"]: task for task in self._tasks.all("train")}
            if self._training and (status := trainings[self._training[0]]["status"]) not in _OPEN:
                self._state.trainings.end(status, self._training[1])
                self._training = None
            current = next((task for task in trainings.values() if task["status"] in _OPEN), None)
            if self._training is None and current:
                number, self._expected = self._expected, None
                if number is None:
                    number = self._state.trainings.start(current["request"], self._labelled())
                self._wake_worker()  # it makes room on the GPU
                self._training = (current["id"], number)

    def _train_if_due(self) -> None:
        """Start a training when one is due and none is running; one due meanwhile follows later."""
        if self._tasks.busy("train"):
            return
        last_labels = self._state.trainings.labels_of_last()
        label_counts = [count for count in (last_labels, self._trained) if count is not None]
        if self._training_due(max(label_counts, default=None)) and not trains_now(self._state.folder):
            labelled = self._labelled()
            logger.info("Starting a training automatically, from %d labels", labelled)
            self._tasks.start("train", {"model": "segmentation"})
            self._trained = labelled
            self._watch_training()

    def _watch_models(self) -> None:
        files = (self._state.folder / name for name in ("model.pt", "pretrained.pt"))
        published = [model_fingerprint(file) for file in files]
        if published != self._published:
            self._published = published
            self._wake_worker()

    def _watch_state(self) -> None:
        """Say once that the state has gone, or is back."""
        self._state.watch()
        if (loss := self._state.loss()) == self._loss:
            return
        self._loss = loss
        if loss:
            logger.error("Requests are refused: %s", loss)
        else:
            logger.info("The state is back")
            self._next_look = 0.0  # it gets the labels that were saved meanwhile

    def _look_at_pool(self) -> None:
        """Take in changes of the pool; a slow look, as in a large pool, postpones the next one."""
        now = time.monotonic()
        if now < max(self._next_look, self._rest_until):
            return
        started = time.thread_time()
        self._look()
        self._next_look = now + (_CHECK_WHILE_BUSY if self._tasks.busy("scoring") else _CHECK_SECONDS)
        self._rest_until = time.monotonic() + _REST_FACTOR * (time.thread_time() - started)
        self._wake_worker()


def end_with_parent() -> None:
    """Exit this child process within a second of its server's death; the next server resumes its work.

    Does nothing in a process that no server started, such as a command of `server.cli.main`.
    """
    if _SERVER_PID not in os.environ:
        return
    server = int(os.environ[_SERVER_PID])

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
