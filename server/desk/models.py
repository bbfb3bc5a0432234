"""The model whose predictions people start from, and its last predictions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from infers.instant.task import NAME as INSTANT
from infers.model_file import ModelError
from infers.segmentation.task import Predictor
from pool.errors import PoolError
from pool.imaging.digests import label_digest
from pool.imaging.images import ImageError
from server.desk.cache import ByteCache
from server.desk.voxels import path_of, version_of
from strategies.better import candidates

_CACHE_BYTES = 2**29  # of the last predictions
_predicting = threading.Lock()


@dataclass(frozen=True)
class Model:
    """A model that predicts labels.

    :param dice: measured on held-out images; None before the first
    :param predict: returns the label (W, H) or (W, H, D) uint8 of an image's path, on its own grid
    :param entropy: returns the entropy of each pixel or voxel there, float32 in nats
    """

    name: str
    fingerprint: str
    dice: float | None
    predict: Callable[[str], np.ndarray]
    entropy: Callable[[str], np.ndarray]


def best_model(app: Any) -> Model | None:
    """Return the model with the highest measured Dice; of those without, the trained one. None before any."""
    models = candidates(app.context, app.bundle)
    if not models:
        return None
    best = models[0]
    if best.name == INSTANT:
        return Model(best.name, best.fingerprint, best.dice, app.instant.label, app.instant.entropy)
    predicts = partial(predict, app.context.model_file, best.fingerprint)
    return Model(
        best.name,
        best.fingerprint,
        best.dice,
        predicts,
        partial(_entropy, app.context.model_file, best.fingerprint),
    )


def predict(file: Path, fingerprint: str, image: str) -> np.ndarray:
    """Predict a label, one at a time: two at once would only slow each other down. Raises ImageError."""
    with _predicting:
        return _predictor(file, fingerprint).label(image)[0]


def _entropy(file: Path, fingerprint: str, image: str) -> np.ndarray:
    with _predicting:
        return _predictor(file, fingerprint).entropy(image)


@lru_cache(maxsize=1)
def _predictor(file: Path, fingerprint: str) -> Predictor:
    return Predictor(file)


class Prelabels:
    """Predictions of the best model, the last ones kept in memory; thread-safe."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._cache = ByteCache[np.ndarray](_CACHE_BYTES, lambda label: label.nbytes)

    def model(self) -> Model:
        """Return the best model. Raises PoolError 404 before there is one."""
        with self._app.database_errors():
            model = best_model(self._app)
        if model is None:
            raise PoolError(404, "there is no model yet: the first label brings one, within seconds")
        return model

    def kept(self, image: str, model: Model) -> np.ndarray | None:
        """Return a prediction made before, if it is still here. Raises PoolError 404, 422."""
        return self._cache.get(self._key(image, model))

    def make(self, image: str, model: Model) -> np.ndarray:
        """Predict the label of an image, and remember that it was given. Raises PoolError 404, 422."""
        if (kept := self.kept(image, model)) is not None:
            return kept
        key = self._key(image, model)
        try:
            label = model.predict(path_of(self._app.datastore(), image))
        except (ImageError, ModelError) as error:
            raise PoolError(422, f"no prediction for {image}: {error}") from error
        if digest := label_digest(label):
            with self._app.database_errors():
                self._app.state.predictions.add(image, digest, model.name)
        return self._cache.put(key, label)

    def _key(self, image: str, model: Model) -> tuple[str, str, str]:
        path_of(self._app.datastore(), image)  # 404
        return image, version_of(self._app.datastore(), image), model.fingerprint


@lru_cache(maxsize=1)
def prelabels_of(app: Any) -> Prelabels:
    """Return the predictions of a server's app, whose memory all requests share."""
    return Prelabels(app)
