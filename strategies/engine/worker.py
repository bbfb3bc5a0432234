"""A worker of a pass over images: plain arguments and paths in, plain results out, no bookkeeping.

A worker is created once per process (a `functools.partial` of its class can be pickled), knows no database
and writes nothing. `read` may run in several threads at once, `look` in one at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pool.imaging.errors import ImageError, reading_image


@dataclass(frozen=True)
class Done:
    """A worker's result for one image, or the `error` that prevented reading it (then `found` is None)."""

    image: str
    found: Any
    error: str = ""


class Worker(ABC):
    """Reads images and processes them in batches."""

    @staticmethod
    def files(*arguments: Any) -> list[str]:
        """Return the files, or folders of files, that a worker created with these arguments reads."""
        return []

    @abstractmethod
    def read(self, path: str) -> Any:
        """Read one image for `look`. Raises ImageError."""

    def look(self, images: Sequence[Any]) -> Sequence[Any]:
        """Process images as `read` returned them; by default reading is all there is to do."""
        return images

    def __call__(self, batch: Sequence[tuple[str, str]]) -> list[Done]:
        """Read and process images given as (id, path); results in the same order."""
        return self.answer([image for image, _ in batch], [try_read(self, path) for _, path in batch])

    def answer(self, images: Sequence[str], read: Sequence[Any]) -> list[Done]:
        """Process what `try_read` returned; an unreadable image yields its error."""
        readable = [content for content in read if not isinstance(content, ImageError)]
        results = iter(self.look(readable)) if readable else iter(())
        return [
            Done(image, None, str(content)) if isinstance(content, ImageError) else Done(image, next(results))
            for image, content in zip(images, read, strict=True)
        ]


def try_read(worker: Worker, path: str) -> Any:
    """Return what `worker.read` returns, or the file's ImageError for whatever it raises."""
    try:
        with reading_image(path):
            return worker.read(path)
    except ImageError as error:
        return error
