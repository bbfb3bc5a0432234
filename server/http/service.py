"""Information on the server, the next sample, and the log."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import monailabel.endpoints
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Body, HTTPException, Query, Response
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse
from monailabel.interfaces.utils.app import app_instance

from server.desk.readers import known_reader
from server.http import access
from server.http.parameters import checked, known
from server.http.table import ANNOTATOR
from strategies.identity import client_of
from strategies.ranking.verbs import VERBS

_ASKING = CapacityLimiter(1)  # one hand-out at a time, outside the event loop
_ICON = Path(monailabel.endpoints.__file__).parent / "static" / "favicon.ico"


def routes() -> APIRouter:
    """Make the routes of `/info/`, `/activelearning/...`, `/logs/`, `/reload`, `/` and the icon."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    def start() -> Response:
        return RedirectResponse("selection/map")  # relative, in case a proxy adds a prefix

    @router.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return FileResponse(_ICON, media_type="image/x-icon")

    @router.get("/info/", tags=["App"], summary="The app: models, strategies, labels, status of selection")
    def info() -> dict[str, Any]:
        return dict(app_instance().info())

    @router.post("/activelearning/{strategy}", tags=["ActiveLearning"], summary="The next sample, and why")
    async def sample(strategy: str, params: Annotated[Any, Body()] = None) -> dict[str, Any]:
        return await to_thread.run_sync(_next_sample, strategy, params, limiter=_ASKING)

    @router.post("/reload", include_in_schema=False)
    def reload() -> dict[str, Any]:
        app_instance().wake()
        return {}

    _add_logs(router)
    return router


def _next_sample(strategy: str, params: Any) -> dict[str, Any]:
    """Answer like MONAI Label, which also describes the whole app at each click. Raises HTTPException."""
    app = app_instance()
    task = known("strategy", strategy, app._strategies)
    request = checked(params, task.parameters, f"strategy {strategy!r}")
    if verbs := [verb for verb in VERBS if verb in request]:
        access.require(ANNOTATOR, verbs[0])
    with known_reader(app):
        client = client_of(request)
        answer = app.next_sample({**request, "strategy": strategy})
    if not answer:
        return {}
    store, image = app.datastore(), answer["id"]
    info = store.get_image_info(image)
    name = client.name if client.named else request.get("client_id", access.user().username)
    handout = {"ts": int(time.time()), "client_id": name}
    earlier = info.get("strategy")  # may be anything that an annotator stored under this name
    strategies = {**(earlier if isinstance(earlier, dict) else {}), strategy: handout}
    store.update_image_info(image, {"strategy": strategies})
    return {**info, **answer, "strategy": strategies}


def _add_logs(router: APIRouter) -> None:
    @router.get("/logs/", tags=["Others"], summary="The end of the server's log, as text")
    def logs(
        lines: Annotated[int, Query(ge=0, le=100_000)] = 300,
        refresh: Annotated[int, Query(ge=0)] = 0,
        html: bool = False,
        text: bool = True,
    ) -> Response:
        file = app_instance().log
        if not file or not file.is_file():
            raise HTTPException(404, "this server writes no log file")
        with open(file, encoding="utf-8", errors="replace") as log:
            tail = "".join(deque(log, lines or None))
        headers = {"Refresh": str(max(refresh, 3))} if refresh else None  # seconds until the browser reloads
        return PlainTextResponse(tail, headers=headers)

    @router.get("/logs/gpu", tags=["Others"], summary="Output of nvidia-smi")
    def gpus() -> Response:
        if not (program := shutil.which("nvidia-smi")):
            raise HTTPException(404, "this machine has no nvidia-smi, hence no NVIDIA GPU")
        try:
            output = subprocess.run([program], capture_output=True, text=True, timeout=30)
        except subprocess.TimeoutExpired:
            raise HTTPException(503, "nvidia-smi does not answer within 30 s; try again later") from None
        return PlainTextResponse(output.stdout or output.stderr)
