"""`/model/...`: the published model, for admins; an uploaded one is checked before it replaces the former."""

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
    """Look at the model, fetch, replace or remove it."""
    found = APIRouter(prefix="/model", tags=["Model"])

    @found.get("/{model}", summary="The published model's file")
    def download(model: str) -> Response:
        return FileResponse(_published(model), filename=f"{model}.pt")

    @found.get("/info/{model}", summary="Checksum and date of the published model")
    def info(model: str) -> dict[str, Any]:
        _published(model)
        return dict(app_instance().model_info(model))

    @found.put("/{model}", summary="Replace the published model")
    def upload(model: str, file: UploadFile) -> dict[str, Any]:
        target, app = _file(model), app_instance()
        with received(file) as path:
            try:
                check_model(path, app.bundle)
            except ModelError as error:
                raise HTTPException(422, f"this model is not taken: {error}") from error
            move_into_place(new_copy(path, target.parent), target)
        app.wake()
        return {"checksum": file_checksum(str(target)), "modified_time": int(target.stat().st_mtime)}

    @found.delete("/{model}", summary="Take the published model away; its file is kept under another name")
    def remove(model: str) -> dict[str, Any]:
        file = _published(model)
        file.rename(file.with_name(f"{file.name}.{time.strftime('%Y%m%d_%H%M%S')}.deleted"))
        return {}

    return found


def _file(model: str) -> Path:
    return Path(known("model", model, app_instance()._infers).get_path(validate=False))


def _published(model: str) -> Path:
    file = _file(model)
    if not file.is_file():
        raise HTTPException(404, f"there is no trained model {model!r} yet")
    return file
