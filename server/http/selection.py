"""`/selection/...`: where selection stands, and what a lead decides."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from monailabel.interfaces.utils.app import app_instance

from server.marks import AlphaRequest, MarkRequest, choose_alpha, mark

PREFIX = "/selection"


def routes() -> APIRouter:
    """What `/selection/` answers; the app is looked up at each request."""
    found = APIRouter(prefix=PREFIX, tags=["Selection"])

    @found.get("/status", summary="Stage, progress, the images that cannot be read, and copies")
    def selection_status() -> dict[str, Any]:
        return app_instance().selection_status(failures=True)

    @found.get("/ledger", summary="Every plan, hand-out, label, model and failure, oldest first")
    def selection_ledger() -> list[dict[str, Any]]:
        with app_instance().database_errors():
            return app_instance().state.ledger.entries()

    @found.get("/handouts", summary="Who works on which image, and what is skipped")
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

    @found.post("/marks", summary="Images that come next, are skipped, or are held out of training")
    def selection_marks(request: MarkRequest) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            done = mark(app.state, app.datastore(), request)
        app.wake()
        return done

    @found.post("/alpha", summary="The weight of diversity from now on")
    def selection_alpha(request: AlphaRequest) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            done = choose_alpha(app.context, app.datastore(), request)
        app.wake()
        return done

    return found
