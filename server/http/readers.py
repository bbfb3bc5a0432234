"""`/selection/reader` and `/selection/lease/...`: who labels in this browser, and what is theirs for now."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from monailabel.interfaces.utils.app import app_instance
from pydantic import BaseModel, Field

from pool.database.handouts import HandoutError
from pool.errors import PoolError
from pool.imaging.label_writer import color_of
from server.desk import guideline, readers
from server.http import access
from server.http.selection import PREFIX
from server.http.table import ANNOTATOR
from strategies.snapshot import PoolSnapshot

_CHOSEN = "chosen"  # source of a hand-out that its client chose itself


class NameRequest(BaseModel):
    """Body of `POST /selection/reader`."""

    name: str = Field(max_length=400, description="shown with the labels; the browser is known by it")


class LeaseRequest(BaseModel):
    """Body of `POST` and `DELETE /selection/lease/{image}`."""

    client_id: str = Field(default="", max_length=200, description="who asks, where there is no cookie")
    take: bool = Field(default=False, description="lease the image if it is free, too")


def routes() -> APIRouter:
    """Make the routes, which look up the app at each request."""
    router = APIRouter(prefix=PREFIX, tags=["Desk"])

    @router.get("/reader", summary="Who labels in this browser, the structures, and the lead's guideline")
    def reader() -> dict[str, Any]:
        return _described()

    @router.post("/reader", summary="Give the person at this browser a name")
    def name(body: NameRequest, request: Request, response: Response) -> dict[str, Any]:
        token = readers.give_cookie(response, request)
        readers.rename(app_instance(), token, body.name)
        readers.remember_token(token)
        return _described()

    @router.post("/lease/{image:path}", summary="Renew the lease of an image; release=1 gives it back")
    def renew(
        image: str, body: LeaseRequest | None = None, release: Annotated[int, Query(ge=0, le=1)] = 0
    ) -> dict[str, Any]:
        lease = body or LeaseRequest()
        return _release(image, lease) if release else _renew(image, lease)

    @router.delete("/leases", summary="Give back all images of the reader")
    def give_all_back(body: LeaseRequest | None = None) -> dict[str, Any]:
        return {"released": _release_all(body or LeaseRequest())}

    @router.delete("/lease/{image:path}", summary="Give an image back")
    def give_back(image: str, body: LeaseRequest | None = None) -> dict[str, Any]:
        return _release(image, body or LeaseRequest())

    return router


def _described() -> dict[str, Any]:
    app = app_instance()
    names, colors = app.bundle.get("labels"), app.bundle.get("colors")
    structures = [
        {"name": name, "value": value, "colour": "#{:02x}{:02x}{:02x}".format(*color_of(name, i, colors))}
        for i, (name, value) in enumerate(names.items())
    ]
    text, client = guideline.rendered(app.context.settings.guideline), readers.client_here(app)
    with app.database_errors():
        drafts = app.state.drafts.images_of(client.name) if client.named else []
    about = {"structures": structures, "guideline": text, "drafts": drafts}
    return {**readers.describe(app), **about, "allowed": access.has(ANNOTATOR)}


def _renew(image: str, lease: LeaseRequest) -> dict[str, Any]:
    app = app_instance()
    client, handouts = readers.client_here(app, lease.client_id), app.state.handouts
    _check_image(app, image)
    with app.database_errors():
        try:
            if lease.take and PoolSnapshot.of(app.context, app.datastore()).may_be_held(image):
                return {"expires_in": round(handouts.take(image, client, _CHOSEN, app.context.terms), 1)}
            return {"expires_in": round(handouts.renew(image, client, app.context.terms), 1)}
        except HandoutError as error:
            raise PoolError(409, str(error)) from error


def _release(image: str, lease: LeaseRequest) -> dict[str, Any]:
    app = app_instance()
    client = readers.client_here(app, lease.client_id)
    _check_image(app, image)
    with app.database_errors():
        try:
            app.state.handouts.release(image, client)
        except HandoutError as error:
            raise PoolError(409, str(error)) from error
    app.wake()
    return {}


def _release_all(lease: LeaseRequest) -> list[str]:
    app = app_instance()
    client = readers.client_here(app, lease.client_id)
    with app.database_errors():
        try:
            released = app.state.handouts.release_all(client)
        except HandoutError as error:
            raise PoolError(409, str(error)) from error
    app.wake()
    return list(released)


def _check_image(app: Any, image: str) -> None:
    if not app.datastore().has_image(image):
        raise PoolError(404, f"there is no image {image!r} in this pool")
