"""`/selection/image/.../draft`: labels that a reader is drawing."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, HTTPException, Request, Response
from monailabel.interfaces.utils.app import app_instance

from pool.database.handouts import Client, HandoutError
from server.desk.readers import client_here
from server.desk.voxels import path_of
from server.http.bodies import read_object
from server.http.selection import PREFIX

_MAX_NOTE = 16 * 2**10  # characters of X-Draft


def routes() -> APIRouter:
    """Make the routes; a draft comes back byte for byte, with its note."""
    router = APIRouter(prefix=f"{PREFIX}/image", tags=["Desk"])

    @router.get("/{image:path}/draft", summary="The reader's own draft, as it was saved")
    def draft(image: str) -> Response:
        app = app_instance()
        path_of(app.datastore(), image)
        with app.database_errors():
            found = app.state.drafts.get(_drawer(app).name, image)
        if found is None:
            raise HTTPException(404, f"there is no draft of {image!r}")
        headers = {"X-Draft": json.dumps(found.details), "X-Updated": f"{found.updated:.3f}"}
        return Response(found.content, 200, headers, "application/octet-stream")

    @router.put("/{image:path}/draft", summary="Keep what the reader has drawn so far")
    async def keep(image: str, request: Request, x_draft: Annotated[str, Header()] = "{}") -> dict[str, Any]:
        return await to_thread.run_sync(_keep_draft, image, await request.body(), x_draft)

    @router.delete("/{image:path}/draft", summary="Discard the reader's own draft")
    def discard(image: str) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            return {"removed": app.state.drafts.remove(_drawer(app).name, image)}

    return router


def _drawer(app: Any) -> Client:
    """Return the reader, by whom a draft is found again. Raises HTTPException 409 for an unknown one."""
    client = client_here(app)
    if not client.named:
        raise HTTPException(409, "nobody knows whose draft this is: open /selection/label, or sign in, first")
    return client


def _keep_draft(image: str, content: bytes, note: str) -> dict[str, Any]:
    """Keep a draft and renew its lease; the answer says why the lease could not be."""
    app, client = app_instance(), _drawer(app_instance())
    path_of(app.datastore(), image)
    details = _note(note)
    with app.database_errors():
        app.state.drafts.save(client.name, image, content, details)
        try:
            return {"expires_in": round(app.state.handouts.renew(image, client, app.context.terms), 1)}
        except HandoutError as error:
            return {"expires_in": None, "detail": str(error)}


def _note(text: str) -> dict[str, Any]:
    """Read the JSON object of X-Draft, plain or in base64. Raises HTTPException 400, 422."""
    if len(text) > _MAX_NOTE:
        raise HTTPException(422, f"X-Draft may have {_MAX_NOTE} characters")
    if not text.lstrip().startswith("{"):
        try:
            text = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise HTTPException(
                400, f"X-Draft is neither a JSON object nor one in base64: {error}"
            ) from error
    return read_object(text, "X-Draft")
