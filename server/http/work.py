"""`/train/`, `/scoring/` and `/batch/infer`: tasks in the background, started, looked at and stopped."""

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

Json = Annotated[Any, Body()]
_ORIGINAL = DefaultLabelTag.ORIGINAL.value


def routes() -> APIRouter:
    """What all three have in common, and how each is started."""
    found = APIRouter()
    for path, kind, tag in (("/train/", "train", "Train"), ("/scoring/", "scoring", "Scoring")):
        _add_status(found, path, kind, tag)
    _add_status(found, "/batch/infer", "batch_infer", "Infer")

    @found.post("/train/", tags=["Train"], include_in_schema=False)
    def train_all(params: Json = None) -> dict[str, Any]:
        return _start_all("train", app_instance()._trainers, params)

    @found.post("/train/{model}", tags=["Train"], summary="Start a training")
    def train(model: str, params: Json = None, enqueue: bool = False) -> dict[str, Any]:
        request = _training(model, params)
        if not enqueue:
            _refuse_second("train", "a training")
        return dict(app_instance().tasks.start("train", request))

    @found.post("/scoring/", tags=["Scoring"], include_in_schema=False)
    def score_all(params: Json = None) -> dict[str, Any]:
        return _start_all("scoring", app_instance()._scoring_methods, params)

    @found.post("/scoring/{method}", tags=["Scoring"], summary="Bring the pool's state up to date now")
    def score(method: str, params: Json = None) -> dict[str, Any]:
        request = _scoring(method, params)
        _refuse_second("scoring", "a refresh")
        return dict(app_instance().tasks.start("scoring", request))

    @found.post("/batch/infer/{model}", tags=["Infer"], summary="Predict labels for the images of the pool")
    def batch(
        model: str, params: Json = None, images: BatchInferImageType = BatchInferImageType.IMAGES_ALL
    ) -> dict[str, Any]:
        request = _batch(model, images, params)
        _refuse_second("batch_infer", "a batch inference")
        return dict(app_instance().tasks.start("batch_infer", request))

    return found


def _add_status(found: APIRouter, path: str, kind: str, tag: str) -> None:
    @found.get(
        path, tags=[tag], name=f"{kind} status", summary=f"The newest task: {kind}, or with all=true each"
    )
    def status(all: bool = False, check_if_running: bool = False) -> Any:
        tasks = app_instance().tasks
        if check_if_running:
            if (task := tasks.running(kind)) is None:
                raise HTTPException(404, f"no task runs: {kind}")
            return task
        if not (known := tasks.all(kind)):
            raise HTTPException(404, f"there was no task since the server started: {kind}")
        return known if all else known[-1]

    @found.delete(path, tags=[tag], name=f"{kind} stop", summary=f"Stop the task that runs: {kind}")
    def stop() -> Any:
        return app_instance().tasks.stop(kind)


def _start_all(kind: str, tasks: dict[str, Any], params: Any) -> dict[str, Any]:
    """Start each; parameters stand under the name of the task that they are for, or are for all.

    Nothing starts unless all may.
    """
    if params is not None and not isinstance(params, dict):
        raise HTTPException(422, 'parameters: expected {"name": value, ...}')
    shared = {name: value for name, value in (params or {}).items() if name not in tasks}
    make = _training if kind == "train" else _scoring
    requests = {}
    for name in tasks:
        own = (params or {}).get(name) or {}
        if not isinstance(own, dict):
            raise HTTPException(422, f'{name}: expected {{"name": value, ...}}')
        requests[name] = make(name, {**shared, **own})
    _refuse_second(kind, "a task of this kind")
    start = app_instance().tasks.start
    return {name: {"result": start(kind, request), "detail": None} for name, request in requests.items()}


def _refuse_second(kind: str, what: str) -> None:
    if app_instance().tasks.busy(kind):
        raise HTTPException(429, f"{what} is running or waits; wait for it, or stop it (DELETE)")


def _training(model: str, params: Any) -> dict[str, Any]:
    """A training's request. Raises HTTPException 404, 409 without labels, 422."""
    app = app_instance()
    task = known("model", model, app._trainers)
    request = checked(params, task.parameters(), f"the training of {model!r}")
    app.check_trainable(model)
    return {**request, "model": model}


def _scoring(method: str, params: Any) -> dict[str, Any]:
    """A scoring's request. Raises HTTPException 404, 422."""
    known("scoring method", method, app_instance()._scoring_methods)
    return {**checked(params, {}, method), "method": method}


def _batch(model: str, images: BatchInferImageType, params: Any) -> dict[str, Any]:
    """A batch inference's request; labels are kept under the tag `original` unless another is named."""
    task = known("model", model, app_instance()._infers)
    declared = task.parameters() | device_parameters()
    declared["max_workers"] = Parameter(int, 0, os.cpu_count() or 1)
    declared["max_batch_size"] = Parameter(int, 0, 10_000_000)
    request = checked(params, declared, f"the batch inference of {model!r}")
    if request.get("save_label") is False:
        raise HTTPException(422, "save_label false: a batch inference saves its predictions")
    several = request.get("multi_gpu", True) and torch.cuda.device_count() > 0
    defaults = {"device": "cuda", "label_tag": _ORIGINAL, "max_workers": 1}
    return {**defaults, **request, "multi_gpu": several, "model": model, "images": images.value}
