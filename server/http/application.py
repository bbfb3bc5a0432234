"""Installation of our routes in place of MONAI Label's, behind the gate.

MONAI Label's own routes pass client input into paths, archives, environments and expressions. Ours keep the
addresses, parameters and answers that its clients expect (docs/security.md).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from monailabel.config import settings
from starlette.middleware.cors import CORSMiddleware

from pool.errors import PoolError
from server import auth, ohif
from server.config import ConfigError
from server.http import (
    datastore,
    desk,
    drafts,
    infer,
    models,
    readers,
    selection,
    service,
    sessions,
    uncertainty,
    work,
)
from server.http.access import Access
from server.http.gate import Gate
from server.http.origins import Origins
from server.http.table import uncovered
from server.pages import progress
from server.pages import routes as pages
from strategies.settings import Settings, names_of

logger = logging.getLogger(__name__)
_MAX_FIELDS = 16  # of a form, 1 MiB each, not counting files


def install(app: FastAPI, chosen: Settings, loss: Callable[[], str]) -> None:
    """Replace MONAI Label's routes and put the gate in front. Raises ConfigError for invalid settings.

    :param loss: says why the state cannot be used any more, "" while it can

    Runs while the application starts, when Starlette no longer accepts middleware, so its stack is rebuilt.
    """
    prefix, server = settings.MONAI_LABEL_API_STR, auth.sign_in_server()
    routers = [
        service.routes(),
        datastore.routes(),
        infer.routes(),
        sessions.routes(),
        models.routes(),
        work.routes(),
    ]
    routers += [
        selection.routes(),
        desk.routes(),
        uncertainty.routes(),
        drafts.routes(),
        readers.routes(),
        *(part(selection.PREFIX) for part in (pages.data, progress.data, pages.shell)),
    ]
    routers += [ohif.routes(), *([auth.routes(server)] if server else [])]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    if missing := uncovered((method, route.path) for route in routes for method in route.methods or ()):
        raise RuntimeError(f"routes without a row in server/http/table.py: {missing}")
    app.router.routes[:] = [
        route for route in app.router.routes if getattr(route, "path", "") == "/openapi.json"
    ]
    for router in routers:
        app.include_router(router, prefix=prefix, **_form_limits(app))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(PoolError, _refused)
    app.user_middleware = []  # MONAI Label's allows every site (CORS *)
    allowed = [name for name in names_of(chosen.allow) if name]
    stack, queries = app.build_middleware_stack(), _queries(routes)
    gate = Gate(stack, _origins(chosen), Access(server), queries, loss, allowed, prefix)
    app.middleware_stack = _with_cors(gate)


def _form_limits(app: FastAPI) -> dict[str, Any]:
    """Limit the form fields, which are held in memory, if this FastAPI can (not the last for Python 3.10)."""
    parameters = inspect.signature(app.include_router).parameters
    return {"form_limits": {"max_fields": _MAX_FIELDS}} if "form_limits" in parameters else {}


def _origins(chosen: Settings) -> Origins:
    try:
        return Origins([name for name in names_of(chosen.allowed_hosts) if name], _cors())
    except ValueError as error:
        raise ConfigError(f"--conf allowed_hosts {error}") from None


def _cors() -> list[str]:
    return [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]


def _with_cors(gate: Gate) -> Gate | CORSMiddleware:
    """Allow the pages of the sites in MONAI_LABEL_CORS_ORIGINS, and of no others."""
    if not (origins := _cors()):
        return gate
    methods = ("GET", "HEAD", "POST", "PUT", "DELETE")
    return CORSMiddleware(gate, origins, methods, allow_headers=["*"], allow_credentials=True)


def _queries(routes: Collection[APIRoute]) -> dict[tuple[str, str], set[str]]:
    """Return the names of each route's query parameters."""
    return {
        (method, route.path): {field.alias for field in route.dependant.query_params}
        for route in routes
        for method in route.methods or ()
    }


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Answer what the layers below cannot serve as if a route had raised HTTPException."""
    assert isinstance(error, PoolError)
    return JSONResponse({"detail": error.text}, error.status)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer 422 in one line; FastAPI's own answer repeats the input, which JSON cannot always hold."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": "; ".join(_reasons(error))}, 422)


def _reasons(error: RequestValidationError) -> Iterator[str]:
    for item in error.errors():
        yield f"{'.'.join(map(str, item['loc'][1:] or item['loc']))}: {item['msg']}"
