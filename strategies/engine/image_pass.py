"""Passes over the pool's images: what drives an engine, and the only writer of what its workers find."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pool.imaging.images import ImageError
from pool.protocol import PoolStore
from strategies.context import Context, marks
from strategies.engine.local import Engine, run_batches
from strategies.engine.workers import Worker

logger = logging.getLogger(__name__)
BATCH = 16  # images that are looked at together, between two commits


@dataclass(frozen=True)
class Found:
    """What a pass found of one image.

    :param mark: fingerprint of the image's file, taken before it was read
    """

    image: str
    mark: str
    value: Any


class ImagePass:
    """Runs workers over images of a pool, and says in its journal how far they are.

    :param engine: where they run
    """

    def __init__(self, context: Context, datastore: PoolStore, engine: Engine = run_batches) -> None:
        self.context, self.datastore, self._engine = context, datastore, engine

    def say(self, step: str, done: int, total: int, started: float) -> None:
        """Write down what is being done; since `started`, in seconds of the clock, it is this step."""
        self.context.state.progress.set(step, done, total, started)
        logger.info("Refresh: %s, %d of %d (pid %d)", step, done, total, os.getpid())

    def run(
        self, step: str, images: Sequence[str], make_worker: Callable[[], Worker], batch: int | None = None
    ) -> Iterator[list[Found]]:
        """What a worker finds of images, in batches, in any order; keep each before asking for the next.

        An image that cannot be read is kept as a failure of its present file; one that is gone is left out.

        :param batch: the most images at once, if other than `BATCH`
        """
        started, done, present = time.time(), 0, dict[str, str]()
        self.say(step, 0, len(images), started)
        for answers in self._engine(make_worker, self._batches(images, batch or BATCH, present)):
            found = []
            for each in answers:
                mark = present.pop(each.image)
                if each.error:
                    self._leave_out(each.image, mark, each.error)
                else:
                    found.append(Found(each.image, mark, each.found))
            if found:
                yield found
            done += len(answers)
            self.say(step, done, len(images), started)

    def _batches(
        self, images: Sequence[str], size: int, present: dict[str, str]
    ) -> Iterator[list[tuple[str, str]]]:
        """Ids and paths, a batch at a time; the fingerprints of their files go into `present`."""
        for start in range(0, len(images), size):
            here = marks(self.datastore, list(images[start : start + size]))
            present |= here
            if batch := [(image, path) for image in here if (path := self._path(image, here[image]))]:
                yield batch

    def _path(self, image: str, mark: str) -> str:
        """Where the image is, downloaded if need be; "" when it cannot be had, which is a failure of it."""
        try:
            return self.datastore.get_image_uri(image)
        except ImageError as error:
            self._leave_out(image, mark, str(error))
            return ""

    def _leave_out(self, image: str, mark: str, reason: str) -> None:
        logger.error("Image %s is left out: %s", image, reason)
        self.context.state.failures.add(image, mark, reason)
