"""Our routes beside MONAI Label's own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

PREFIX = "/selection"


def router() -> APIRouter:
    """`GET /selection/status` and `GET /selection/ledger`; the app is looked up at each request."""
    routes = APIRouter(
        prefix=PREFIX, tags=["Selection"], dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
    )

    @routes.get("/status", summary="Stage, progress, and the images that cannot be read")
    def selection_status() -> dict[str, Any]:
        return app_instance().selection_status(failures=True)

    @routes.get("/ledger", summary="Every plan, hand-out, label, model and failure, oldest first")
    def selection_ledger() -> list[dict[str, Any]]:
        return app_instance().state.journal.ledger()

    return routes


def add_routes(app: FastAPI) -> None:
    """Add our routes once."""
    if not any(
        getattr(route, "path", "").startswith(settings.MONAI_LABEL_API_STR + PREFIX) for route in app.routes
    ):
        app.include_router(router(), prefix=settings.MONAI_LABEL_API_STR)
