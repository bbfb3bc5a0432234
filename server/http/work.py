"""`/train/`, `/scoring/` and `/batch/infer`: start, show and stop background tasks."""

from __future__ import annotations

import os
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Body, HTTPException
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType
from monailabel.interfaces.utils.app import app_instance

from bundle_configs.parameters import Parameter, device_parameters
from server.http.parameters import checked, known
from server.http.tags import tag_warnings

Json = Annotated[Any, Body()]
_ORIGINAL = DefaultLabelTag.ORIGINAL.value


def routes() -> APIRouter:
    """Make the routes that show, start and stop the three kinds of tasks."""
    router = APIRouter()
    for path, kind, tag in (("/train/", "train", "Train"), ("/scoring/", "scoring", "Scoring")):
        _add_status(router, path, kind, tag)
    _add_status(router, "/batch/infer", "batch_infer", "Infer")

    @router.post("/train/", tags=["Train"], include_in_schema=False)
    def train_all(params: Json = None) -> dict[str, Any]:
        return _start_all("train", app_instance()._trainers, params)

    @router.post("/train/{model}", tags=["Train"], summary="Start a training")
    def train(model: str, params: Json = None, enqueue: bool = False) -> dict[str, Any]:
        request = _training_request(model, params)
        if not enqueue:
            _refuse_second("train", "a training")
        return dict(app_instance().start_task("train", request))

    @router.post("/scoring/", tags=["Scoring"], include_in_schema=False)
    def score_all(params: Json = None) -> dict[str, Any]:
        return _start_all("scoring", app_instance()._scoring_methods, params)

    @router.post("/scoring/{method}", tags=["Scoring"], summary="Bring the pool's state up to date now")
    def score(method: str, params: Json = None) -> dict[str, Any]:
        request = _scoring_request(method, params)
        _refuse_second("scoring", "a refresh")
        return dict(app_instance().start_task("scoring", request))

    @router.post("/batch/infer/{model}", tags=["Infer"], summary="Predict labels for the images of the pool")
    def batch(
        model: str, params: Json = None, images: BatchInferImageType = BatchInferImageType.IMAGES_ALL
    ) -> dict[str, Any]:
        request = _batch_request(model, images, params)
        _refuse_second("batch_infer", "a batch inference")
        warnings = tag_warnings(request["label_tag"])
        task = dict(app_instance().start_task("batch_infer", request))
        return {**task, "warnings": warnings} if warnings else task

    return router


def _add_status(router: APIRouter, path: str, kind: str, tag: str) -> None:
    @router.get(
        path,
        tags=[tag],
        name=f"{kind} status",
        summary=f"The newest task: {kind}, or with all=true every one",
    )
    def status(all: bool = False, check_if_running: bool = False) -> Any:
        tasks = app_instance().tasks
        if check_if_running:
            if (task := tasks.running(kind)) is None:
                raise HTTPException(404, f"no task is running: {kind}")
            return task
        if not (started := tasks.all(kind)):
            raise HTTPException(404, f"there has been no task since the server started: {kind}")
        return started if all else started[-1]

    @router.delete(path, tags=[tag], name=f"{kind} stop", summary=f"Stop the running task: {kind}")
    def stop() -> Any:
        return app_instance().tasks.stop(kind)


def _start_all(kind: str, tasks: dict[str, Any], params: Any) -> dict[str, Any]:
    """Start every task of a kind, or none if any is refused.

    Parameters are for all tasks, or for one when given under its name.
    """
    if params is not None and not isinstance(params, dict):
        raise HTTPException(422, 'parameters: expected {"name": value, ...}')
    shared = {name: value for name, value in (params or {}).items() if name not in tasks}
    make = _training_request if kind == "train" else _scoring_request
    requests = {}
    for name in tasks:
        own_params = (params or {}).get(name) or {}
        if not isinstance(own_params, dict):
            raise HTTPException(422, f'{name}: expected {{"name": value, ...}}')
        requests[name] = make(name, {**shared, **own_params})
    _refuse_second(kind, "a task of this kind")
    start = app_instance().start_task
    return {name: {"result": start(kind, request), "detail": None} for name, request in requests.items()}


def _refuse_second(kind: str, what: str) -> None:
    if app_instance().tasks.busy(kind):
        raise HTTPException(429, f"{what} is running or queued; wait for it, or stop it (DELETE)")


def _training_request(model: str, params: Any) -> dict[str, Any]:
    """Check and return the request of a training. Raises PoolError 404, 409 without labels, 422."""
    app = app_instance()
    task = known("model", model, app._trainers)
    request = checked(params, task.parameters(), f"the training of {model!r}")
    app.check_trainable(model)
    return {**request, "model": model}


def _scoring_request(method: str, params: Any) -> dict[str, Any]:
    """Check and return the request of a scoring. Raises PoolError 404, 422."""
    known("scoring method", method, app_instance()._scoring_methods)
    return {**checked(params, {}, method), "method": method}


def _batch_request(model: str, images: BatchInferImageType, params: Any) -> dict[str, Any]:
    """Check and return the request of a batch inference; labels get the tag `original` by default."""
    task = known("model", model, app_instance()._infers)
    declared = task.parameters() | device_parameters()
    declared["max_workers"] = Parameter(int, 0, os.cpu_count() or 1)
    declared["max_batch_size"] = Parameter(int, 0, 10_000_000)
    request = checked(params, declared, f"the batch inference of {model!r}")
    if request.get("save_label") is False:
        raise HTTPException(
            422, "save_label false: a batch inference always saves its predictions; leave it out"
        )
    several = request.get("multi_gpu", True) and torch.cuda.device_count() > 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    defaults = {"device": device, "label_tag": _ORIGINAL, "max_workers": 1}
    return {**defaults, **request, "multi_gpu": several, "model": model, "images": images.value}
