"""`/infer/{model}`: predictions for an image of the pool, of a session, or sent with the request."""

from __future__ import annotations

import json
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Form, HTTPException, Response, UploadFile
from fastapi.responses import FileResponse, JSONResponse
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import get_mime_type
from requests_toolbelt import MultipartEncoder
from starlette.background import BackgroundTask

from pool.protocol import MakesSegmentations
from server.desk.activity import works_on
from server.http import access
from server.http.bodies import read_object
from server.http.parameters import checked, known
from server.http.table import ANNOTATOR
from server.http.uploads import called, received

PREDICTING = CapacityLimiter(1)  # one at a time, outside the event loop: there is only one network


class Output(str, Enum):
    """The kind of answer: the label's file, its parameters, both in one, or a DICOM segmentation."""

    image = "image"
    json = "json"
    all = "all"
    dicom_seg = "dicom_seg"


def routes() -> APIRouter:
    """Make the route of `/infer/{model}`."""
    router = APIRouter(prefix="/infer", tags=["Infer"])

    @router.post("/{model}", summary="Predict a label")
    async def infer(
        model: str,
        image: str = "",
        session_id: str = "",
        params: Annotated[str, Form()] = "{}",
        file: UploadFile | None = None,
        label: UploadFile | None = None,
        output: Output = Output.all,
    ) -> Response:
        if label is not None:
            raise HTTPException(422, "no model of this app takes a label: leave it out")
        request = _request(model, read_object(params, "params"))
        result = await to_thread.run_sync(_predict, request, image, session_id, file, limiter=PREDICTING)
        if output is Output.dicom_seg:
            await to_thread.run_sync(_to_segmentation, result, image)
        return _answer(result, output)

    return router


def _request(model: str, params: dict[str, Any]) -> dict[str, Any]:
    """Check the parameters and return the request. Raises PoolError 404, 422, HTTPException 403."""
    task = known("model", model, app_instance()._infers)
    request = checked(params, task.parameters(), f"model {model!r}")
    if request.get("save_label"):
        access.require(ANNOTATOR, "save_label")
    return {**request, "model": model}


def _predict(request: dict[str, Any], image: str, session_id: str, file: UploadFile | None) -> dict[str, Any]:
    app = app_instance()
    with ExitStack() as stack:
        source: str | Path = image
        if session_id:
            if app.sessions() is None:
                raise HTTPException(406, "sessions are switched off (MONAI_LABEL_SESSIONS)")
            session = app.sessions().get(session_id, access.user().username)
            stack.enter_context(called(session.image, session.name))
            source = session.image
        elif file is not None:
            source = stack.enter_context(received(file))
        elif not image:
            raise HTTPException(
                422, "name an image of the pool (image) or a session (session_id), or send a file"
            )
        if image:
            works_on(app, image, request.get("client_id"))
        return dict(app.infer({**request, "image": source}))


def _to_segmentation(result: dict[str, Any], image: str) -> None:
    """Replace a prediction's file by a DICOM segmentation. Raises HTTPException 409 for a folder."""
    store, label = app_instance().datastore(), Path(result["file"])
    try:
        if not isinstance(store, MakesSegmentations):
            raise HTTPException(
                409, "output=dicom_seg is for images of a DICOM server, but this pool is a folder"
            )
        result["file"] = f"{label}.dcm"
        store.segmentation(image, str(label)).save_as(result["file"], write_like_original=False)
    finally:
        label.unlink(missing_ok=True)


def _answer(result: dict[str, Any], output: Output) -> Response:
    """Answer with the prediction as MONAI Label's clients expect it; its file is removed once sent."""
    path, params = Path(result["file"]), result["params"]
    cleanup = BackgroundTask(path.unlink, missing_ok=True)
    if output is Output.json:
        return JSONResponse(params, background=cleanup)
    kind = get_mime_type(str(path))
    if output in (Output.image, Output.dicom_seg):
        return FileResponse(path, media_type=kind, filename=path.name, background=cleanup)
    fields = {
        "params": (None, json.dumps(params), "application/json"),
        "image": (path.name, path.read_bytes(), kind),
    }
    encoder = MultipartEncoder(fields=fields)
    return Response(encoder.to_string(), media_type=encoder.content_type, background=cleanup)
