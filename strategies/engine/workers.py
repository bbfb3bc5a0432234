"""The workers of the refresh: embeddings, dense features, scores of a model, prints, and foreground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bundle_configs import Bundle
from infers.encoders.pool_encoder import make_pool_encoder, pool_reader
from infers.instant.features import Features, Reduction
from infers.instant.model import FeatureMaker
from infers.instant.planes import Planes
from infers.segmentation.task import Predictor
from pool.imaging.images import unit_range
from pool.imaging.prints import print_of
from pool.imaging.volumes import read_volume
from pool.protocol import Print
from strategies.engine.worker import Worker
from strategies.scoring import Scored, score, thresholded_foreground


class Embedded(NamedTuple):
    """One image's embedding (D,) float32, its encoder's key, and its print if requested."""

    key: str
    vector: np.ndarray
    print: Print | None


class EmbedWorker(Worker):
    """Computes an `Embedded` for each image.

    :param encoder: as the settings name it
    :param weights: path of its weights, for encoders that need one
    :param bundle: name of the app's folder in `bundle_configs`; `overrides` replace its values
    :param prints: compute the images' prints too, so that each image is read only once
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
        prints = [image_print for _, image_print in images]
        return [Embedded(self._encoder.key, v, p) for v, p in zip(vectors, prints, strict=True)]


class ScoreWorker(Worker):
    """Computes a `Scored` for each image with a published model.

    :param model: path of its file
    :param sha256: expected hash of the file; raises ModelChangedError if another model was published
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


class FeatureWorker(Worker):
    """Computes the coarse `Features` of each image for the instant model.

    :param encoder: as the settings name it, with its `weights`
    :param bundle: name of the app's folder in `bundle_configs`; `overrides` replace its values
    :param reduction: bytes of the pool's `Reduction`
    """

    def __init__(
        self, encoder: str, weights: str | None, bundle: str, overrides: Mapping[str, Any], reduction: bytes
    ) -> None:
        self._maker = FeatureMaker(encoder, weights, Bundle(bundle, overrides))
        self._reduction = Reduction.from_bytes(reduction)

    @staticmethod
    def files(*arguments: Any) -> list[str]:
        return EmbedWorker.files(*arguments)

    def read(self, path: str) -> Planes:
        return self._maker.planes(path)

    def look(self, images: Sequence[Planes]) -> list[Features]:
        return [self._maker.features(planes, self._reduction).coarse() for planes in images]


class PrintWorker(Worker):
    """Computes the `Print` of each image, by which duplicates are recognised.

    :param bundle: name of the app's folder in `bundle_configs`; `overrides` replace its values
    """

    def __init__(self, bundle: str, overrides: Mapping[str, Any]) -> None:
        config = Bundle(bundle, overrides)
        self._channels = config.get("in_channels") if config.get("dimensions") == 3 else None

    def read(self, path: str) -> Print:
        return print_of(unit_range(path) if self._channels is None else read_volume(path, self._channels)[0])


class ForegroundWorker(Worker):
    """Computes the share of each image above Otsu's threshold.

    :param bundle: name of the app's folder in `bundle_configs`; `overrides` replace its values
    """

    def __init__(self, bundle: str, overrides: Mapping[str, Any]) -> None:
        self._read = pool_reader(Bundle(bundle, overrides))

    def read(self, path: str) -> float:
        return thresholded_foreground(self._read(path))
