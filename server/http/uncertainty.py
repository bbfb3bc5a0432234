"""`/selection/uncertainty`: where in an image the better model is unsure."""

from __future__ import annotations

from threading import Lock
from typing import Annotated

import numpy as np
from anyio import to_thread
from cachetools import LRUCache, cached
from fastapi import APIRouter, Query, Response
from monailabel.interfaces.utils.app import app_instance

from infers.model_file import ModelError
from pool.errors import PoolError
from pool.imaging.images import ImageError
from server.desk.models import Model, best_model
from server.desk.uncertainty import as_png, heat_map, with_legend
from server.desk.views import view_of
from server.desk.voxels import path_of, reader_of, slice_of, version_of
from server.http.infer import PREDICTING
from server.http.selection import PREFIX


def routes() -> APIRouter:
    """Make the route; it predicts, so it waits in the queue of predictions."""
    router = APIRouter(prefix=PREFIX, tags=["Selection"])

    @router.get("/uncertainty", summary="PNG of the better model's entropy at each pixel")
    async def uncertainty(
        image: str,
        slice: Annotated[int | None, Query(ge=0, description="of a volume; by default the middle")] = None,
        legend: Annotated[bool, Query(description="over the image, with a legend; else alone")] = True,
    ) -> Response:
        content = await to_thread.run_sync(_picture, image, slice, legend, limiter=PREDICTING)
        return Response(content, media_type="image/png")

    return router


def _picture(image: str, number: int | None, legend: bool) -> bytes:
    app = app_instance()
    path = path_of(app.datastore(), image)
    with app.database_errors():
        model = best_model(app)
    if model is None:
        raise PoolError(404, "there is no model yet: the first label brings one, within seconds")
    try:
        nats = view_of(path).shown(_entropy(model, path, version_of(app.datastore(), image)))
    except (ImageError, ModelError) as error:
        raise PoolError(422, f"no prediction for {image}: {error}") from error
    if nats.ndim == 3 and number is None:
        number = len(nats) // 2
    if nats.ndim == 2 and number == 0:  # a picture is its own first slice
        number = None
    classes = 1 + len(app.bundle.get("labels"))
    heat = heat_map(slice_of(nats, number), classes)
    if not legend:
        return as_png(heat)
    voxels = reader_of(app.datastore()).read(image)
    low, high = voxels.window
    grey = np.clip((slice_of(voxels.array, number) - low) / max(high - low, 1e-6), 0, 1)
    measured = "not measured" if model.dice is None else f"Dice {model.dice:.2f}"
    place = "" if number is None else f", slice {number + 1} of {len(nats)}"
    return as_png(with_legend(grey, heat, classes, f"{image}{place}: model {model.name} ({measured})"))


@cached(LRUCache(2), key=lambda model, path, version: (model.fingerprint, path, version), lock=Lock())
def _entropy(model: Model, path: str, version: str) -> np.ndarray:
    """Return the entropy (W, H[, D]) of an image's file; the last ones are kept for their other slices."""
    return model.entropy(path)
