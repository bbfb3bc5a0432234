"""Batch inference: predict the labels of many images, past those that cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.tasks.batch_infer import BatchInferTask

from pool.errors import PoolError
from pool.protocol import PoolStore

logger = logging.getLogger(__name__)
_MAX_NAMED = 20  # images without a prediction, in the last line of the log
Infer = Callable[[dict[str, Any], Any], dict[str, Any]]


class BatchInfer(BatchInferTask):
    """MONAI Label's batch inference, which otherwise ends at the first image that fails."""

    def __call__(self, request: Mapping[str, Any], datastore: PoolStore, infer: Infer) -> dict[str, Any]:
        """Return the result of each image by id; {"error": text} for one without a prediction.

        Raises PoolError, that of the first image, if none could be predicted.
        """
        errors: list[PoolError] = []

        def infer_or_report(request: dict[str, Any], datastore: Any) -> dict[str, Any]:
            try:
                return infer(request, datastore)
            except PoolError as error:
                errors.append(error)
                logger.warning("No prediction of %s: %s", request["image"], error.text)
                return {"error": error.text}

        results: dict[str, Any] = super().__call__(request, datastore, infer_or_report)
        if errors and len(errors) == len(results):
            raise errors[0]
        if errors:
            named = ", ".join([image for image, result in results.items() if "error" in result][:_MAX_NAMED])
            logger.warning("%d of %d images have no prediction: %s", len(errors), len(results), named)
        return results
