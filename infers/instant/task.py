"""MONAI Label's infer task for the instant model: predictions from the first label on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from bundle_configs import Bundle
from bundle_configs.parameters import Parameter
from infers.instant.head import HeadError, entropy
from infers.instant.model import FeatureMaker, InstantModel, read_model
from infers.instant.planes import Planes
from infers.prediction import prediction_parameters, write_prediction
from pool.errors import PoolError
from pool.imaging.errors import ImageError
from pool.imaging.labels import LabelError, grid_of

NAME = "instant"


class InstantInfer(InferTask):
    """Predicts a label for one image with the newest instant head.

    :param newest: returns the bytes of the newest instant model; None before the first label
    """

    def __init__(self, newest: Callable[[], bytes | None], maker: FeatureMaker, bundle: Bundle) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=bundle.get("labels"),
            dimension=bundle.get("dimensions"),
            description="Segments the app's structures seconds after each label, from the first one on",
            config={"result_dtype": "uint8"},
        )
        self._newest, self._maker, self.bundle = newest, maker, bundle
        self._lock = threading.Lock()

    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters of a request."""
        return prediction_parameters()

    def is_valid(self) -> bool:
        return self._newest() is not None

    def label(self, path: str) -> np.ndarray:
        """Predict the label (W, H[, D]) uint8 of an image on its own grid.

        Raises ImageError, and PoolError 409 before the first label.
        """
        planes, model, probabilities = self._predict(path)
        return planes.label_of(probabilities, model.head.classes)

    def entropy(self, path: str) -> np.ndarray:
        """Return the entropy (W, H[, D]) float32 of the prediction, in nats; raises as `label`."""
        planes, _, probabilities = self._predict(path)
        return planes.to_own_grid(entropy(probabilities)[..., None])[0]

    def _predict(self, path: str) -> tuple[Planes, InstantModel, np.ndarray]:
        if (data := self._newest()) is None:
            raise PoolError(
                409, "there is no instant model yet: save the first final label, and it is there in seconds"
            )
        try:
            with self._lock:  # two at once would only slow each other down
                model, planes = read_model(data), self._maker.planes(path)
                return planes, model, self._maker.probabilities(planes, model)
        except HeadError as error:
            raise PoolError(409, str(error)) from error

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> tuple[str, dict[str, Any]]:
        """Predict a label. Raises PoolError: 409 before the first label, 422 for an unreadable image."""
        path = str(request["image"])
        try:
            planes, model, probabilities = self._predict(path)
            label = planes.label_of(probabilities, model.head.classes)
            file, said = write_prediction(
                label, grid_of(path)[1], path, self.bundle, request.get("result_extension")
            )
        except (ImageError, LabelError) as error:
            raise PoolError(422, str(error)) from error
        return file, {**said, "labels": model.head.labels, "dice": model.head.dice}
