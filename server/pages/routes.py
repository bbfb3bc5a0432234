"""Routes of the pages: the shell (HTML, scripts) is open and has no data; the data require a token."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from monailabel.config import settings
from monailabel.interfaces.utils.app import app_instance

from pool.errors import PoolError
from server.desk.models import best_model
from server.desk.openings import opened
from server.desk.readers import give_cookie
from server.pages.past import history_of
from server.pages.pictures import LARGEST, Pictures
from server.pages.planning import MAX_PICKS, Previews, plan_now
from server.pages.pool_map import MapData
from strategies.identity import client_of
from strategies.snapshot import PoolSnapshot

_STATIC = Path(__file__).parent / "static"
_PAGES = {"map": "map.html", "progress": "progress.html"}
_SHELL_HEADERS = {
    # regl compiles its drawing commands, and the scatter plot indexes its points in a worker
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'unsafe-eval'; worker-src blob:; "
    "style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
_THUMBNAIL_SIZE = 128  # pixels
_MAX_DRAWING = 2  # pictures made at once: reading a CT takes a GB
_Size = Annotated[int, Query(ge=16, le=LARGEST)]
_Slice = Annotated[int | None, Query(ge=0, description="of a volume, from 0; by default the middle")]


def shell(prefix: str) -> APIRouter:
    """Make the routes of the pages themselves, open to everyone."""
    routes = APIRouter(prefix=prefix, include_in_schema=False)
    files = {path.name: path for path in _STATIC.iterdir() if path.suffix != ".html"}

    def page(name: str, request: Request) -> HTMLResponse:
        if not (_STATIC / name).is_file():
            raise HTTPException(404, f"the page {name} is not built: run make pages")
        text = (_STATIC / name).read_text(encoding="utf-8")
        if settings.MONAI_LABEL_AUTH_ENABLE:  # scripts then ask for name and password first
            text = text.replace("<body>", "<body data-sign-in>")
        answer = HTMLResponse(text, headers=_SHELL_HEADERS)
        give_cookie(answer, request)
        return answer

    for path, name in _PAGES.items():
        routes.add_api_route(f"/{path}", partial(page, name))

    @routes.get("/label")
    def label(request: Request, image: str = "") -> HTMLResponse:
        del image  # the page's script opens it
        return page("label.html", request)

    @routes.get("/static/{name}")
    def static(name: str) -> FileResponse:
        if name not in files:
            raise HTTPException(404, f"there is no file {name!r}")
        return FileResponse(files[name], headers=_SHELL_HEADERS)

    return routes


def data(prefix: str) -> APIRouter:
    """Make the routes of the pages' data, for signed-in users; synchronous, so that they run in threads."""
    routes = APIRouter(prefix=prefix, tags=["Selection"])
    maps, previews = MapData(), Previews()

    @routes.get("/map/data", summary="The map in columns: images, positions, states, clusters, numbers")
    def map_data(if_none_match: Annotated[str, Header()] = "") -> Response:
        app = app_instance()
        with app.database_errors():
            version, body = maps.compressed(
                app.context, PoolSnapshot.of(app.context, app.datastore()), app.bundle
            )
        headers = {"ETag": f'"{version}"'}
        if if_none_match == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, 200, {**headers, "Content-Encoding": "gzip"}, "application/json")

    @routes.get("/plan", summary="The next hand-outs of auto, in order, each with its reason")
    def plan(count: Annotated[int, Query(ge=1, le=MAX_PICKS)] = 20) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            return plan_now(app.context, app.datastore(), count)

    @routes.get("/preview", summary="The next active picks with another alpha; changes nothing")
    def preview(
        alpha: Annotated[float, Query(ge=0, le=1)], count: Annotated[int, Query(ge=1, le=MAX_PICKS)] = 20
    ) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            try:
                return previews.picks(app.context, app.datastore(), alpha, count, client_of({}).name)
            except PoolError:
                app.wake()  # it may wait for a plan
                raise

    @routes.get("/images/history", summary="The history of one image, and why it was picked")
    def history(image: str) -> dict[str, Any]:
        app = app_instance()
        with app.database_errors():
            pool = PoolSnapshot.of(app.context, app.datastore())
            if not pool.store.has_image(image):
                raise HTTPException(404, f"there is no image {image!r} in this pool")
            return history_of(app.context, pool, image)

    _add_pictures(routes)
    return routes


def _add_pictures(routes: APIRouter) -> None:
    """Add the routes of pictures, which queue without holding a thread that others need."""
    drawing, predicting = CapacityLimiter(_MAX_DRAWING), CapacityLimiter(1)

    @lru_cache(maxsize=1)
    def pictures(app: Any) -> Pictures:
        return Pictures(app.datastore(), app.bundle, lambda: best_model(app))

    @routes.get("/images/thumbnail", summary="PNG of an image, 128 pixels at most; a volume's middle slice")
    async def thumbnail(request: Request, image: str) -> Response:
        maker = pictures(app_instance())
        return await _in_turn(request, drawing, lambda: maker.picture(image, _THUMBNAIL_SIZE))

    @routes.get("/images/picture", summary="PNG of an image or slice; X-Slices: how many a volume has")
    async def picture(request: Request, image: str, size: _Size = LARGEST, slice: _Slice = None) -> Response:
        maker = pictures(app_instance())
        answer = await _in_turn(request, drawing, lambda: maker.picture(image, size, slice))
        await to_thread.run_sync(opened, app_instance(), image, "picture")
        answer.headers["X-Slices"] = str(await to_thread.run_sync(maker.slices, image))
        return answer

    @routes.get("/images/overlay", summary="Transparent PNG of an image's label or prediction")
    async def overlay(
        request: Request,
        image: str,
        of: Literal["label", "prediction"],
        size: _Size = LARGEST,
        slice: _Slice = None,
    ) -> Response:
        maker = pictures(app_instance())
        if of == "label":
            answer = await _in_turn(request, drawing, lambda: maker.label(image, size, slice))
            await to_thread.run_sync(opened, app_instance(), image, "label")
            return answer
        return await _in_turn(request, predicting, lambda: maker.prediction(image, size, slice))


async def _in_turn(request: Request, limiter: CapacityLimiter, make: Callable[[], bytes]) -> Response:
    """Make a PNG outside the event loop, unless the browser has left while the request was queued."""
    async with limiter:
        if await request.is_disconnected():
            return Response(status_code=499)  # nobody reads it
        return Response(await to_thread.run_sync(make), media_type="image/png")
