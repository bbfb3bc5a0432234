"""Passes over the pool's images: drive an engine, and record failures and progress."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pool.imaging.errors import ImageError
from pool.protocol import PoolStore
from strategies.context import Context
from strategies.engine.local import Engine, run_batches
from strategies.engine.worker import Worker

logger = logging.getLogger(__name__)
BATCH = 16  # images processed together, between two commits


@dataclass(frozen=True)
class Found:
    """A pass's result for one image.

    :param fingerprint: fingerprint of the image's file, taken before it was read
    """

    image: str
    fingerprint: str
    value: Any


class ImagePass:
    """Runs workers over images of a pool and records their progress.

    :param engine: runs the workers, here or on a cluster
    :ivar between: called after each batch, so that long passes do not hold up what is more urgent
    """

    def __init__(self, context: Context, datastore: PoolStore, engine: Engine = run_batches) -> None:
        self.context, self.datastore, self._engine = context, datastore, engine
        self.between: Callable[[], None] = lambda: None

    def say(self, step: str, done: int, total: int, started: float) -> None:
        """Record and log the progress of a step that began at `started` (seconds since the epoch)."""
        self.context.state.progress.set(step, done, total, started)
        logger.info("Refresh: %s, %d of %d (pid %d)", step, done, total, os.getpid())

    def is_behind(self) -> bool:
        """Return True if labels were saved or checked since the datastore was read; cheap."""
        return self.context.state.label_checks.newest() != self.datastore.newest_check

    def catch_up(self) -> None:
        """Read what the datastore has now, and which labels count."""
        self.datastore.refresh()
        self.datastore.take_in_checks(self.context.state.label_checks.news(self.datastore))

    def run(
        self, step: str, images: Sequence[str], make_worker: Callable[[], Worker], batch: int | None = None
    ) -> Iterator[list[Found]]:
        """Yield a worker's results in batches, in any order; store each before asking for the next.

        An unreadable image is recorded as a failure of its present file; a missing one is dropped.

        :param batch: maximum number of images at once; default `BATCH`
        """
        started, done, present = time.time(), 0, dict[str, str]()
        self.say(step, 0, len(images), started)
        for answers in self._engine(make_worker, self._batches(images, batch or BATCH, present)):
            results = []
            for answer in answers:
                fingerprint = present.pop(answer.image)
                if answer.error:
                    self._record_failure(answer.image, fingerprint, answer.error)
                else:
                    results.append(Found(answer.image, fingerprint, answer.found))
            if results:
                yield results
            self.between()
            done += len(answers)
            self.say(step, done, len(images), started)

    def _batches(
        self, images: Sequence[str], size: int, present: dict[str, str]
    ) -> Iterator[list[tuple[str, str]]]:
        """Yield batches of (id, path); add the fingerprints of their files to `present`."""
        for start in range(0, len(images), size):
            fingerprints = self.datastore.fingerprints(list(images[start : start + size]))
            present |= fingerprints
            if batch := [
                (image, path) for image in fingerprints if (path := self._path(image, fingerprints[image]))
            ]:
                yield batch

    def _path(self, image: str, fingerprint: str) -> str:
        """Return the image's path, downloading it if needed; "" and a recorded failure if unavailable."""
        try:
            return self.datastore.get_image_uri(image)
        except ImageError as error:
            self._record_failure(image, fingerprint, str(error))
            return ""

    def _record_failure(self, image: str, fingerprint: str, reason: str) -> None:
        logger.error("Image %s is skipped: %s", image, reason)
        self.context.state.failures.add(image, fingerprint, reason)
