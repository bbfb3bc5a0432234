"""`/selection/image/...`: images, pre-labels and labels as arrays, for labelling in the browser."""

from __future__ import annotations

import gzip
import json
import re
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Form, Header, HTTPException, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from monailabel.interfaces.utils.app import app_instance
from pydantic import ValidationError

from pool.label_states import CONFIRMED
from server.desk import labels
from server.desk.confirm import confirm
from server.desk.models import prelabels_of
from server.desk.openings import opened
from server.desk.readers import client_here
from server.desk.views import view_of
from server.desk.voxels import Voxels, path_of, reader_of, slice_of
from server.http.bodies import read_object
from server.http.datastore import SAVING
from server.http.infer import PREDICTING
from server.http.selection import PREFIX

_MAX_READING = 2  # images read at once: a CT takes a GB
_READING = CapacityLimiter(_MAX_READING)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_Slice = Annotated[int | None, Query(ge=0, description="one slice of a volume, from 0")]


@lru_cache(maxsize=1)
def _labels(app: Any) -> labels.StoredLabels:
    return labels.StoredLabels(app.datastore(), app.bundle.get("labels"))


def routes() -> APIRouter:
    """Make the routes of images and labels; masks have the arrangement of the voxels (docs/desk.md)."""
    router = APIRouter(prefix=f"{PREFIX}/image", tags=["Desk"])

    @router.get("/{image:path}/voxels", summary="An image's values, or one slice's: raw, little-endian")
    async def voxels(image: str, slice: _Slice = None, range: Annotated[str, Header()] = "") -> Response:
        reader = reader_of(app_instance().datastore())
        found = await to_thread.run_sync(reader.kept, image)  # must not wait for others that are being read
        if found is None:
            found = await to_thread.run_sync(reader.read, image, limiter=_READING)
        return await to_thread.run_sync(_voxels, image, found, slice, range)

    @router.get("/{image:path}/prelabel", summary="The best model's prediction as a raw mask")
    async def prelabel(request: Request, image: str, slice: _Slice = None) -> Response:
        app = app_instance()
        model = await to_thread.run_sync(prelabels_of(app).model)
        label = await to_thread.run_sync(prelabels_of(app).kept, image, model)
        if label is None:
            label = await to_thread.run_sync(prelabels_of(app).make, image, model, limiter=PREDICTING)
        shown = await to_thread.run_sync(_shown, image, label)
        about = {"X-Model": model.name, "X-Dice": "" if model.dice is None else f"{model.dice:.4f}"}
        return await to_thread.run_sync(_mask, request, shown, slice, about)

    @router.get("/{image:path}/label", summary="The newest final label as a raw mask")
    def label(request: Request, image: str, slice: _Slice = None) -> Response:
        app = app_instance()
        app.datastore().take_over_changes()
        mask, version = _labels(app).read(image)
        opened(app, image, "label")
        return _mask(request, mask, slice, {"X-Version": str(version)})

    @router.put("/{image:path}/label", summary="Save a raw mask as the final label")
    async def save(image: str, mask: UploadFile, params: Annotated[str, Form()]) -> Response:
        return await to_thread.run_sync(_save, image, mask, _params(params), limiter=SAVING)

    @router.post("/{image:path}/confirm", summary="Let a label that equals a prediction count")
    def confirmed(image: str) -> dict[str, Any]:
        app, client = app_instance(), client_here(app_instance())
        with app.database_errors():
            confirm(app.state, app.datastore(), image, client.name)
        app.wake()
        return {"label": image, "state": CONFIRMED}

    return router


def _voxels(image: str, found: Voxels, number: int | None, wanted: str) -> Response:
    opened(app_instance(), image, "voxels")
    part, view = slice_of(found.array, number), found.view
    headers = {
        "X-Shape": ",".join(map(str, view.shape)),
        "X-Dtype": found.array.dtype.name,
        "X-Affine": json.dumps(view.affine.tolist()),
        "X-Window": ",".join(f"{value:g}" for value in found.window),
        "X-Spacing": ",".join(f"{value:g}" for value in view.spacing),
        "X-Version": found.version,
        "Accept-Ranges": "bytes",
    }
    content = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    if (bounds := _bounds(wanted, content.size)) is None:
        return _raw(content.tobytes(), headers)
    start, end = bounds
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
    return _raw(content[start:end].tobytes(), headers, 206)


def _shown(image: str, label: np.ndarray) -> np.ndarray:
    """Arrange a label of an image's file as the screen shows it."""
    return view_of(path_of(app_instance().datastore(), image)).shown(label)


def _bounds(wanted: str, size: int) -> tuple[int, int] | None:
    """Return start and end of a Range header (RFC 9110); None for the whole. Raises HTTPException 416."""
    match = _RANGE.fullmatch(wanted.replace(" ", ""))
    if match is None or match[0] == "bytes=-":  # none, or several ranges, which a server may ignore
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        raise HTTPException(416, f"{wanted}: there are {size} bytes", {"Content-Range": f"bytes */{size}"})
    return start, end


def _raw(content: bytes, headers: dict[str, str], status: int = 200) -> Response:
    return Response(content, status, headers, "application/octet-stream")


def _mask(request: Request, mask: np.ndarray, number: int | None, about: dict[str, str]) -> Response:
    """Answer with a mask, or one slice of it; packed if the browser unpacks it, as masks are mostly 0."""
    shape, content = mask.shape, np.ascontiguousarray(slice_of(mask, number), np.uint8).tobytes()
    headers = {**about, "X-Shape": ",".join(map(str, shape)), "X-Dtype": "uint8"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return _raw(gzip.compress(content, 1), {**headers, "Content-Encoding": "gzip"})
    return _raw(content, headers)


def _params(text: str) -> labels.LabelParams:
    try:
        return labels.LabelParams.model_validate(read_object(text, "params"))
    except ValidationError as error:
        reasons = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise HTTPException(422, f"params: {'; '.join(reasons)}") from error


def _save(image: str, mask: UploadFile, params: labels.LabelParams) -> Response:
    app = app_instance()
    store, client = app.datastore(), client_here(app, params.client_id)
    name = client.name if client.named else params.client_id
    try:
        labels.save_mask(store, image, mask.file, params, name)
    except labels.OlderLabelError as error:
        return JSONResponse({"detail": str(error), **error.facts}, 409)
    info = store.get_label_info(image, labels.FINAL)
    answer = {"label": image, "version": store.label_version(image), "state": info.get("state")}
    answer["warnings"] = info.get("warnings", [])
    return JSONResponse({**(app.on_save_label(image, image) or {}), **answer})
