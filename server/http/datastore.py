"""`/datastore/...`: images and labels of the pool, as MONAI Label's clients ask for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Form, HTTPException, Query, Response, UploadFile
from fastapi.responses import FileResponse
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import file_checksum, get_mime_type
from starlette.background import BackgroundTask

from pool.datastore.listing import split_name
from pool.imaging.images import ImageError
from pool.imaging.labels import LabelError
from server.http import access
from server.http.bodies import read_object
from server.http.uploads import received, shown_name
from strategies.identity import current_user

_SAVING = CapacityLimiter(1)  # one label after the other, beside the event loop
Params = Annotated[str, Form()]


class Listing(str, Enum):
    """What `GET /datastore/` gives."""

    train = "train"
    stats = "stats"
    all = "all"


def routes() -> APIRouter:
    """Reading, adding and removing. Endpoints are synchronous, so that they run beside the event loop."""
    found = APIRouter(prefix="/datastore", tags=["Datastore"])

    @found.get("/", summary="Numbers of images and labels, all of them, or the pairs for training")
    def listing(output: Listing = Listing.stats) -> Any:
        store = app_instance().datastore()
        if output is Listing.stats:
            return store.status()
        return store.json() if output is Listing.all else store.datalist()

    @found.get("/dataset", summary="The labelled images and their labels as a ZIP file")
    def dataset(limit_cases: Annotated[int | None, Query(ge=1)] = None) -> Response:
        store = app_instance().datastore()
        if not store.count_labelled():
            raise HTTPException(404, "nothing is labelled yet")
        archive = store.get_dataset_archive(limit_cases)
        done = BackgroundTask(Path(archive).unlink, missing_ok=True)
        return FileResponse(archive, media_type="application/zip", filename="dataset.zip", background=done)

    _add_images(found)
    _add_labels(found)
    return found


def _add_images(found: APIRouter) -> None:
    @found.put("/", include_in_schema=False)
    @found.put("/image", summary="Add an image to the pool")
    def add(file: UploadFile, image: str = "", params: Params = "{}") -> dict[str, Any]:
        name = shown_name(file.filename)
        if (parts := split_name(name)) is None:
            raise HTTPException(
                400, f"{name!r} is no image that this app reads: PNG, JPEG, NIfTI, NRRD, DICOM"
            )
        about = {**read_object(params, "params"), "user": access.user().username}
        with received(file) as path:
            return {"image": app_instance().datastore().add_image(image or parts[0], str(path), about)}

    @found.delete("/", include_in_schema=False)
    @found.delete("/image", summary="Remove an image and its labels")
    def remove(id: str) -> dict[str, Any]:
        app_instance().datastore().remove_image(id)
        return {}

    @found.head("/image", summary="Whether the pool has an image, and with check_sum these very bytes")
    def check(image: str, check_sum: str = "") -> Response:
        path = _image_file(image)
        if check_sum and not _has_checksum(path, check_sum):
            raise HTTPException(404, f"image {image!r} has other bytes")
        return Response()

    @found.get("/image", summary="An image's file")
    def download(image: str) -> Response:
        return _sent(_image_file(image))

    @found.get("/image/info", summary="What is noted of an image")
    def info(image: str) -> dict[str, Any]:
        _known(image)
        return dict(app_instance().datastore().get_image_info(image))

    @found.put("/image/info", summary="Add to what is noted of an image")
    def note(image: str, info: Params = "{}") -> None:
        about = {**read_object(info, "info"), "user": access.user().username}
        app_instance().datastore().update_image_info(image, about)


def _add_labels(found: APIRouter) -> None:
    @found.put("/label", summary="Save a label; tag final is a finished one")
    async def save(
        image: str, label: UploadFile, params: Params = "{}", tag: str = DefaultLabelTag.FINAL.value
    ) -> dict[str, Any]:
        about = _whose(read_object(params, "params"))
        return await to_thread.run_sync(
            _save, image, label, tag or DefaultLabelTag.FINAL.value, about, limiter=_SAVING
        )

    @found.delete("/label", summary="Remove a label; a final one is kept as a version")
    def remove(id: str, tag: str) -> dict[str, Any]:
        _known(id)
        app_instance().datastore().remove_label(id, tag)
        return {}

    @found.head("/label", summary="Whether an image has a label")
    def check(image: str, tag: str) -> Response:
        _label_file(image, tag)
        return Response()

    @found.get("/label", summary="A label's file")
    def download(label: str, tag: str) -> Response:
        return _sent(_label_file(label, tag))

    @found.get("/label/info", summary="What is noted of a label")
    def info(label: str, tag: str) -> dict[str, Any]:
        _known(label)
        return dict(app_instance().datastore().get_label_info(label, tag))

    def note(label: str, tag: str, text: str) -> None:
        about = {**read_object(text, "info"), "user": access.user().username}
        app_instance().datastore().update_label_info(label, tag, about)

    @found.put("/label/info", summary="Add to what is noted of a label")
    def note_info(label: str, tag: str, info: Params = "{}") -> None:
        note(label, tag, info)

    @found.put("/updatelabelinfo", include_in_schema=False)
    def note_params(label: str, tag: str, params: Params = "{}") -> None:
        note(label, tag, params)


def _whose(about: dict[str, Any]) -> dict[str, Any]:
    """What comes with a label; whose it is, a signed-in user cannot choose."""
    if (name := current_user.get()) is None:
        return about
    return {key: value for key, value in about.items() if key not in ("by", "client")} | {
        "user": name,
        "client_id": name,
    }


def _save(image: str, label: UploadFile, tag: str, about: dict[str, Any]) -> dict[str, Any]:
    app = app_instance()
    with received(label, "label") as path:
        label_id = app.datastore().save_label(image, str(path), tag, about)
    return {**(app.on_save_label(image, label_id) or {}), "image": image, "label": label_id}


def _known(image: str) -> None:
    if not app_instance().datastore().has_image(image):
        raise HTTPException(404, f"there is no image {image!r} in this pool")


def _image_file(image: str) -> Path:
    _known(image)
    path = Path(_readable(lambda: app_instance().datastore().get_image_uri(image)))
    if not path.is_file():
        raise HTTPException(404, f"the file of image {image!r} has gone")
    return path


def _label_file(image: str, tag: str) -> Path:
    _known(image)
    path = _readable(lambda: app_instance().datastore().get_label_uri(image, tag))
    if not path or not os.path.isfile(path):
        raise HTTPException(404, f"image {image!r} has no label with the tag {tag!r}")
    return Path(path)


def _readable(find: Callable[[], str]) -> str:
    try:
        return find()
    except (ImageError, LabelError) as error:
        raise HTTPException(422, str(error)) from error


def _has_checksum(path: Path, text: str) -> bool:
    """Whether a file has a checksum, as `SHA256:<hex>`. Raises HTTPException 422 for another algorithm."""
    name, _, digest = text.rpartition(":")
    if (name := name or "SHA256").upper() not in ("SHA256", "SHA512", "MD5"):
        raise HTTPException(
            422, f"check_sum {text[:80]!r}: SHA256, SHA512 or MD5, a colon, and hexadecimal digits"
        )
    return bool(file_checksum(str(path), name.upper()) == f"{name.upper()}:{digest.lower()}")


def _sent(path: Path) -> Response:
    return FileResponse(path, media_type=get_mime_type(str(path)), filename=path.name)
