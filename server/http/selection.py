"""`/selection/...`: the status of selection, and decisions of a lead."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from monailabel.interfaces.utils.app import app_instance

from server.guidance import guidance
from server.http import access
from server.http.table import ADMIN, ANNOTATOR, REVIEWER
from server.marks import AlphaRequest, MarkRequest, choose_alpha, mark

PREFIX = "/selection"


def allowed() -> dict[str, bool]:
    """Return what the user of the request may do on the pages."""
    return {"label": access.has(ANNOTATOR), "mark": access.has(REVIEWER), "train": access.has(ADMIN)}


def routes() -> APIRouter:
    """Make the routes of `/selection/...`, which look up the app at each request."""
    router = APIRouter(prefix=PREFIX, tags=["Selection"])

    @router.get("/status", summary="Stage, progress, training, the next step, unreadable images, duplicates")
    def selection_status() -> dict[str, Any]:
        app = app_instance()
        status = app.selection_status(failures=True)
        with app.database_errors():
            added = guidance(app, status)
        return {**status, **added, "allowed": allowed()}

    @router.get("/ledger", summary="Every plan, hand-out, label, model and failure, oldest first")
    def selection_ledger() -> list[dict[str, Any]]:
        with app_instance().database_errors():
            return app_instance().state.ledger.entries()

    @router.get("/handouts", summary="Open hand-outs with their clients, and skipped images")
    def selection_handouts() -> dict[str, Any]:
        handouts = app_instance().state.handouts
        with app_instance().database_errors():
            now = handouts.now()
            return {
                "open": [
                    {"image": h.image, "client": h.client, "expires_in": round(h.expires - now, 1)}
                    for h in handouts.open()
                ],
                "skipped": handouts.skipped(),
            }

    @router.post("/marks", summary="Images that come next, are skipped, or are held out of training")
    def selection_marks(request: MarkRequest) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            answer = mark(app.state, app.datastore(), request, app.bundle.get("labels"))
        app.wake()
        return answer

    @router.post("/alpha", summary="The weight of diversity from now on")
    def selection_alpha(request: AlphaRequest) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            answer = choose_alpha(app.context, request)
        app.wake()
        return answer

    return router
