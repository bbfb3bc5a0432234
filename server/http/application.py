"""The application that clients reach: our routes in place of MONAI Label's, behind the gate.

MONAI Label's own routes hand what a client sends to paths, archives, environments and expressions; its
client's calls keep their addresses, parameters and answers here (docs/security.md).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Iterator
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
from server.http import datastore, infer, models, selection, service, sessions, work
from server.http.access import Access
from server.http.gate import Gate
from server.http.origins import Origins
from server.http.table import uncovered
from server.pages import progress
from server.pages import routes as pages
from strategies.settings import Settings, names_of

logger = logging.getLogger(__name__)
_MAX_FIELDS = 16  # of a form, 1 MiB each, beside its files


def install(app: FastAPI, chosen: Settings) -> None:
    """Replace MONAI Label's routes and put the gate in front. Raises ConfigError for wrong settings.

    Called while the application starts, when Starlette takes no middleware any more; its stack is built anew.
    """
    prefix, server = settings.MONAI_LABEL_API_STR, auth.sign_in_server()
    own = [
        service.routes(),
        datastore.routes(),
        infer.routes(),
        sessions.routes(),
        models.routes(),
        work.routes(),
    ]
    own += [
        selection.routes(),
        *(part(selection.PREFIX) for part in (pages.data, progress.data, pages.shell)),
    ]
    own += [ohif.routes(), *([auth.routes(server)] if server else [])]
    routes = [route for router in own for route in router.routes if isinstance(route, APIRoute)]
    if missing := uncovered((method, route.path) for route in routes for method in route.methods or ()):
        raise RuntimeError(f"routes without a row in server/http/table.py: {missing}")
    app.router.routes[:] = [
        route for route in app.router.routes if getattr(route, "path", "") == "/openapi.json"
    ]
    for router in own:
        app.include_router(router, prefix=prefix, **_form_limits(app))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(PoolError, _refused)
    app.user_middleware = []  # MONAI Label's answers the pages of every site (CORS *)
    allowed = [name for name in names_of(chosen.allow) if name]
    gate = Gate(
        app.build_middleware_stack(), _origins(chosen), Access(server), _queries(routes), allowed, prefix
    )
    app.middleware_stack = _with_cors(gate)


def _form_limits(app: FastAPI) -> dict[str, Any]:
    """Fields of a form are held in memory. FastAPI's newest for Python 3.10 does not take the limit."""
    known = inspect.signature(app.include_router).parameters
    return {"form_limits": {"max_fields": _MAX_FIELDS}} if "form_limits" in known else {}


def _origins(chosen: Settings) -> Origins:
    try:
        return Origins([name for name in names_of(chosen.allowed_hosts) if name], _cors())
    except ValueError as error:
        raise ConfigError(f"--conf allowed_hosts {error}") from None


def _cors() -> list[str]:
    return [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]


def _with_cors(gate: Gate) -> Gate | CORSMiddleware:
    """Pages of other sites may use the server only where MONAI_LABEL_CORS_ORIGINS names these."""
    if not (origins := _cors()):
        return gate
    methods = ("GET", "HEAD", "POST", "PUT", "DELETE")
    return CORSMiddleware(gate, origins, methods, allow_headers=["*"], allow_credentials=True)


def _queries(routes: Collection[APIRoute]) -> dict[tuple[str, str], set[str]]:
    """Names that each route takes in its query."""
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
    """422 in one line; FastAPI's own repeats what was sent, which JSON cannot always hold."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": "; ".join(_reasons(error))}, 422)


def _reasons(error: RequestValidationError) -> Iterator[str]:
    for one in error.errors():
        yield f"{'.'.join(map(str, one['loc'][1:] or one['loc']))}: {one['msg']}"
