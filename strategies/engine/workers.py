"""The work of a pass over images without its bookkeeping: plain arguments and paths in, plain results out.

A worker is made once in each process that works (`functools.partial` of its class pickles), knows no
database, and writes nothing. `read` may run in several threads at once, `look` in one at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bundle_configs import Bundle
from infers.encoders.pool_encoder import make_pool_encoder, pool_reader
from infers.segmentation.task import Predictor
from pool.imaging.images import ImageError, unit_range
from pool.imaging.prints import print_of
from pool.imaging.volumes import read_volume
from pool.protocol import Print
from strategies.scoring import Scored, score, thresholded_foreground


@dataclass(frozen=True)
class Done:
    """What a worker found of one image, or why it could not be read (`error`, then `found` is None)."""

    image: str
    found: Any
    error: str = ""


class Worker(ABC):
    """Reads images and looks at them, some at a time."""

    @staticmethod
    def files(*arguments: Any) -> list[str]:
        """Paths that a worker reads when it is made with these arguments: files, or folders with files."""
        return []

    @abstractmethod
    def read(self, path: str) -> Any:
        """What `look` takes of one image. Raises ImageError."""

    def look(self, images: Sequence[Any]) -> Sequence[Any]:
        """What is found of each of the images, as `read` gave them; some workers are done with reading."""
        return images

    def __call__(self, batch: Sequence[tuple[str, str]]) -> list[Done]:
        """What is found of images given by id and path, in their order."""
        return self.answer([image for image, _ in batch], [try_read(self, path) for _, path in batch])

    def answer(self, images: Sequence[str], read: Sequence[Any]) -> list[Done]:
        """Look at what `try_read` gave; an image that could not be read is answered by why."""
        readable = [each for each in read if not isinstance(each, ImageError)]
        found = iter(self.look(readable)) if readable else iter(())
        return [
            Done(image, None, str(each)) if isinstance(each, ImageError) else Done(image, next(found))
            for image, each in zip(images, read, strict=True)
        ]


def try_read(worker: Worker, path: str) -> Any:
    """What `worker.read` gives, or the ImageError that it raises."""
    try:
        return worker.read(path)
    except ImageError as error:
        return error


class Embedded(NamedTuple):
    """One image's vector (D,) float32, its encoder's key, and its print if asked for."""

    key: str
    vector: np.ndarray
    print: Print | None


class EmbedWorker(Worker):
    """Finds an `Embedded` of each image.

    :param encoder: as the settings name it
    :param weights: path of its weights, for the encoders that take one
    :param bundle: name of the app's folder in `bundle_configs`, with the `overrides` of its values
    :param prints: whether to print images too, so that a picture is read once
    """

    def __init__(
        self, encoder: str, weights: str | None, bundle: str, overrides: Mapping[str, Any], prints: bool
    ) -> None:
        self._encoder = make_pool_encoder(encoder, weights, Bundle(bundle, overrides))
        self._prints = prints

    @staticmethod
    def files(*arguments: Any) -> list[str]:
        encoder, weights = arguments[:2]
        path = weights or encoder.partition(":")[2]
        return [path] if path and Path(path).expanduser().exists() else []

    def read(self, path: str) -> tuple[Any, Print | None]:
        image = self._encoder.read(path)
        return self._encoder.prepare(image), print_of(image) if self._prints else None

    def look(self, images: Sequence[tuple[Any, Print | None]]) -> list[Embedded]:
        vectors = self._encoder.embed([prepared for prepared, _ in images])
        prints = [found for _, found in images]
        return [Embedded(self._encoder.key, v, p) for v, p in zip(vectors, prints, strict=True)]


class ScoreWorker(Worker):
    """Finds a `Scored` of each image with a published model.

    :param model: path of its file
    :param sha256: what the file must be; raises ModelChangedError when another was published there
    """

    def __init__(self, model: str, sha256: str) -> None:
        self._predict = Predictor(Path(model), sha256, many=True)

    @staticmethod
    def files(*arguments: Any) -> list[str]:
        return [arguments[0]]

    def read(self, path: str) -> Any:
        return self._predict.pixels(path)

    def look(self, images: Sequence[Any]) -> list[Scored]:
        return score(self._predict, images)


class PrintWorker(Worker):
    """Finds the `Print` of each image, by which copies are recognised.

    :param bundle: name of the app's folder in `bundle_configs`, with the `overrides` of its values
    """

    def __init__(self, bundle: str, overrides: Mapping[str, Any]) -> None:
        about = Bundle(bundle, overrides)
        self._channels = about.get("in_channels") if about.get("dimensions") == 3 else None

    def read(self, path: str) -> Print:
        return print_of(unit_range(path) if self._channels is None else read_volume(path, self._channels)[0])


class ForegroundWorker(Worker):
    """Finds the share of each image above Otsu's threshold.

    :param bundle: name of the app's folder in `bundle_configs`, with the `overrides` of its values
    """

    def __init__(self, bundle: str, overrides: Mapping[str, Any]) -> None:
        self._read = pool_reader(Bundle(bundle, overrides))

    def read(self, path: str) -> float:
        return thresholded_foreground(self._read(path))
