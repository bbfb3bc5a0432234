"""`/model/...`: the published model, for admins; an upload is checked before it replaces the model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Response, UploadFile
from fastapi.responses import FileResponse
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import file_checksum

from infers.model_file import ModelError, check_model
from pool.files import move_into_place, new_copy
from server.http.parameters import known
from server.http.uploads import received


def routes() -> APIRouter:
    """Make the routes that show, download, replace and remove the model."""
    router = APIRouter(prefix="/model", tags=["Model"])

    @router.get("/{model}", summary="The published model's file")
    def download(model: str) -> Response:
        return FileResponse(_published_file(model), filename=f"{model}.pt")

    @router.get("/info/{model}", summary="Checksum and date of the published model")
    def info(model: str) -> dict[str, Any]:
        _published_file(model)
        return dict(app_instance().model_info(model))

    @router.put("/{model}", summary="Replace the published model")
    def upload(model: str, file: UploadFile) -> dict[str, Any]:
        target, app = _model_file(model), app_instance()
        with received(file) as path:
            try:
                check_model(path, app.bundle)
            except ModelError as error:
                raise HTTPException(422, f"this model was not accepted: {error}") from error
            move_into_place(new_copy(path, target.parent), target)
        app.wake()
        return {"checksum": file_checksum(str(target)), "modified_time": int(target.stat().st_mtime)}

    @router.delete("/{model}", summary="Remove the published model; its file is kept under another name")
    def remove(model: str) -> dict[str, Any]:
        file = _published_file(model)
        file.rename(file.with_name(f"{file.name}.{time.strftime('%Y%m%d_%H%M%S')}.deleted"))
        return {}

    return router


def _model_file(model: str) -> Path:
    return Path(known("model", model, app_instance()._infers).get_path(validate=False))


def _published_file(model: str) -> Path:
    file = _model_file(model)
    if not file.is_file():
        raise HTTPException(404, f"there is no trained model {model!r} yet")
    return file
