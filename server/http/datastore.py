"""`/datastore/...`: images and labels of the pool, as MONAI Label's clients request them."""

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

from pool.imaging.images import ImageError
from pool.imaging.labels import LabelError
from pool.imaging.names import split_name
from server.desk.activity import works_on
from server.desk.labels import replaced_by_another
from server.desk.openings import opened
from server.desk.readers import client_here
from server.http import access
from server.http.bodies import read_object
from server.http.tags import tag_warnings
from server.http.uploads import received, shown_name
from strategies.identity import current_user

SAVING = CapacityLimiter(1)  # one label at a time, outside the event loop
Params = Annotated[str, Form()]


class Listing(str, Enum):
    """The kinds of answer of `GET /datastore/`."""

    train = "train"
    stats = "stats"
    all = "all"


def routes() -> APIRouter:
    """Make the routes; endpoints are synchronous, so that they run in threads."""
    router = APIRouter(prefix="/datastore", tags=["Datastore"])

    @router.get("/", summary="Numbers of images and labels, all of them, or the pairs for training")
    def listing(output: Listing = Listing.stats) -> Any:
        store = app_instance().datastore()
        store.take_over_changes()  # of a batch inference, which is a process of its own
        if output is Listing.stats:
            return store.status()
        return store.json() if output is Listing.all else store.datalist()

    @router.get("/dataset", summary="The labelled images and their labels as a ZIP file")
    def dataset(limit_cases: Annotated[int | None, Query(ge=1)] = None) -> Response:
        store = app_instance().datastore()
        archive = store.get_dataset_archive(limit_cases)
        opened(app_instance(), store.get_labeled_images()[:limit_cases], "data set")
        cleanup = BackgroundTask(Path(archive).unlink, missing_ok=True)
        return FileResponse(archive, media_type="application/zip", filename="dataset.zip", background=cleanup)

    _add_images(router)
    _add_labels(router)
    return router


def _add_images(router: APIRouter) -> None:
    @router.put("/", include_in_schema=False)
    @router.put("/image", summary="Add an image to the pool")
    def add(file: UploadFile, image: str = "", params: Params = "{}") -> dict[str, Any]:
        name = shown_name(file.filename)
        if (parts := split_name(name)) is None:
            raise HTTPException(
                400, f"{name!r} is not an image that this app reads: PNG, JPEG, NIfTI, NRRD, DICOM"
            )
        info = {**read_object(params, "params"), "user": access.user().username}
        with received(file) as path:
            return {"image": app_instance().datastore().add_image(image or parts[0], str(path), info)}

    @router.delete("/", include_in_schema=False)
    @router.delete("/image", summary="Remove an image and its labels")
    def remove(id: str) -> dict[str, Any]:
        app_instance().datastore().remove_image(id)
        return {}

    @router.head("/image", summary="Whether the pool has an image, and with check_sum the same bytes")
    def check(image: str, check_sum: str = "") -> Response:
        path = _image_file(image)
        if check_sum and not _has_checksum(path, check_sum):
            raise HTTPException(404, f"image {image!r} has other bytes")
        return Response()

    @router.get("/image", summary="An image's file")
    def download(image: str) -> Response:
        path = _image_file(image)
        works_on(app_instance(), image)
        opened(app_instance(), image, "image")
        return _file_response(path)

    @router.get("/image/info", summary="The information stored with an image")
    def info(image: str) -> dict[str, Any]:
        _require_image(image)
        return dict(app_instance().image_info(image))

    @router.put("/image/info", summary="Add to the information stored with an image")
    def note(image: str, info: Params = "{}") -> None:
        details = {**read_object(info, "info"), "user": access.user().username}
        app_instance().datastore().update_image_info(image, details)


def _add_labels(router: APIRouter) -> None:
    @router.put("/label", summary="Save a label; the tag final marks a finished one")
    async def save(
        image: str, label: UploadFile, params: Params = "{}", tag: str = DefaultLabelTag.FINAL.value
    ) -> dict[str, Any]:
        details = _with_author(read_object(params, "params"))
        return await to_thread.run_sync(
            _save, image, label, tag or DefaultLabelTag.FINAL.value, details, limiter=SAVING
        )

    @router.delete("/label", summary="Remove a label; a final one is kept as a version")
    def remove(id: str, tag: str) -> dict[str, Any]:
        _require_image(id)
        app_instance().datastore().remove_label(id, tag)
        return {}

    @router.head("/label", summary="Whether an image has a label")
    def check(image: str, tag: str) -> Response:
        _label_file(image, tag)
        return Response()

    @router.get("/label", summary="A label's file")
    def download(label: str, tag: str) -> Response:
        path = _label_file(label, tag)
        works_on(app_instance(), label)
        opened(app_instance(), label, "label")
        return _file_response(path)

    @router.get("/label/info", summary="The information stored with a label")
    def info(label: str, tag: str) -> dict[str, Any]:
        _require_image(label)
        app_instance().datastore().take_over_changes()
        return dict(app_instance().datastore().get_label_info(label, tag))

    def note(label: str, tag: str, text: str) -> None:
        details = {**read_object(text, "info"), "user": access.user().username}
        app_instance().datastore().update_label_info(label, tag, details)

    @router.put("/label/info", summary="Add to the information stored with a label")
    def note_info(label: str, tag: str, info: Params = "{}") -> None:
        note(label, tag, info)

    @router.put("/updatelabelinfo", include_in_schema=False)
    def note_params(label: str, tag: str, params: Params = "{}") -> None:
        note(label, tag, params)


def _with_author(details: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a label; a signed-in user is always recorded as its author."""
    if (name := current_user.get()) is None:
        return details
    return {key: value for key, value in details.items() if key not in ("by", "client")} | {
        "user": name,
        "client_id": name,
    }


def _save(image: str, label: UploadFile, tag: str, details: dict[str, Any]) -> dict[str, Any]:
    app = app_instance()
    store = app.datastore()
    client = client_here(app, str(details.get("client_id") or ""))
    if client.named and current_user.get() is None:  # the browser is known, whatever name its page sends
        details = {**details, "client_id": client.name}
    said = [*tag_warnings(tag), *replaced_by_another(store, image, tag, client)]
    with received(label, "label") as path:
        label_id = store.save_label(image, str(path), tag, details)
    if tag != DefaultLabelTag.FINAL.value:
        works_on(app, image, details.get("client_id"))
    answer = {**(app.on_save_label(image, label_id) or {}), "image": image, "label": label_id}
    warnings = [*store.get_label_info(label_id, tag).get("warnings", []), *said]
    return {**answer, "warnings": warnings} if warnings else answer


def _require_image(image: str) -> None:
    if not app_instance().datastore().has_image(image):
        raise HTTPException(404, f"there is no image {image!r} in this pool")


def _image_file(image: str) -> Path:
    _require_image(image)
    path = Path(_file_or_422(lambda: app_instance().datastore().get_image_uri(image)))
    if not path.is_file():
        raise HTTPException(404, f"the file of image {image!r} is missing")
    return path


def _label_file(image: str, tag: str) -> Path:
    _require_image(image)
    app_instance().datastore().take_over_changes()
    path = _file_or_422(lambda: app_instance().datastore().get_label_uri(image, tag))
    if not path or not os.path.isfile(path):
        raise HTTPException(404, f"image {image!r} has no label with the tag {tag!r}")
    return Path(path)


def _file_or_422(find: Callable[[], str]) -> str:
    try:
        return find()
    except (ImageError, LabelError) as error:
        raise HTTPException(422, str(error)) from error


def _has_checksum(path: Path, text: str) -> bool:
    """Return whether a file has the checksum `SHA256:<hex>`. Raises HTTPException 422 for unknown ones."""
    name, _, digest = text.rpartition(":")
    if (name := name or "SHA256").upper() not in ("SHA256", "SHA512", "MD5"):
        raise HTTPException(422, f"check_sum {text[:80]!r}: SHA256, SHA512 or MD5, a colon, hex digits")
    return bool(file_checksum(str(path), name.upper()) == f"{name.upper()}:{digest.lower()}")


def _file_response(path: Path) -> Response:
    return FileResponse(path, media_type=get_mime_type(str(path)), filename=path.name)
