"""Our routes beside MONAI Label's own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

from server import ohif
from server.marks import AlphaRequest, MarkRequest, choose_alpha, mark
from server.pages import progress
from server.pages import routes as pages

PREFIX = "/selection"


def router() -> APIRouter:
    """What `/selection/` answers; the app is looked up at each request."""
    routes = APIRouter(
        prefix=PREFIX, tags=["Selection"], dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
    )

    @routes.get("/status", summary="Stage, progress, the images that cannot be read, and copies")
    def selection_status() -> dict[str, Any]:
        return app_instance().selection_status(failures=True)

    @routes.get("/ledger", summary="Every plan, hand-out, label, model and failure, oldest first")
    def selection_ledger() -> list[dict[str, Any]]:
        with app_instance().database_errors():
            return app_instance().state.journal.ledger()

    @routes.get("/handouts", summary="Who works on which image, and what is skipped")
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

    @routes.post(
        "/marks",
        summary="Images that come next, are skipped, or are held out of training",
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_REVIEWER))],
    )
    def selection_marks(request: MarkRequest) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            done = mark(app.state, app.datastore(), request)
        app.wake()
        return done

    @routes.post(
        "/alpha",
        summary="The weight of diversity from now on",
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_REVIEWER))],
    )
    def selection_alpha(request: AlphaRequest) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            done = choose_alpha(app.context, app.datastore(), request)
        app.wake()
        return done

    return routes


def add_routes(app: FastAPI) -> None:
    """Add our routes once, OHIF's before MONAI Label's own, and take the place of its `/reload`.

    As shipped anybody may call it, and it builds a second app beside the first inside the event loop: two
    datastores that both write, and a request to itself that never returns.
    """
    if any(
        getattr(route, "path", "").startswith(settings.MONAI_LABEL_API_STR + PREFIX) for route in app.routes
    ):
        return
    app.router.routes[:] = [route for route in app.routes if getattr(route, "path", "") != "/reload"]
    for routes in (router(), pages.data(PREFIX), progress.data(PREFIX), pages.shell(PREFIX)):
        app.include_router(routes, prefix=settings.MONAI_LABEL_API_STR)
    shipped = len(app.router.routes)  # OHIF's routes take the place of MONAI Label's, which come first
    app.include_router(ohif.routes(), prefix=settings.MONAI_LABEL_API_STR)
    app.router.routes[:] = app.router.routes[shipped:] + app.router.routes[:shipped]
    only_admin = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))]

    @app.post("/reload", dependencies=only_admin, include_in_schema=False)
    def reload() -> dict[str, Any]:
        app_instance().read_again()
        return {}
