"""The newest training, and what people do next, as the pages and `/selection/status` show it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from strategies.snapshot import PoolSnapshot

_STATES = {
    "SUBMITTED": "queued",
    "RUNNING": "running",
    "DONE": "done",
    "ERROR": "failed",
    "STOPPED": "stopped",
}
_PRETRAINING = "pretraining"
_Step = tuple[str, str, str]  # sentence, action of the button, action of a second one


def guidance(app: Any, status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the newest training, the labels that models are trained on, and the next step for people.

    :param status: the status of selection, with its failures
    """
    models = app.state.models.all()
    usable, trained = app._count_labelled(), len(models[0].labelled) if models else 0
    settings, store = app.context.settings, app.datastore()
    pool = PoolSnapshot.of(app.context, store)
    stats = {name: trainer.stats() for name, trainer in app._trainers.items()}
    added = {
        "training": training_status(app.tasks.all("train"), stats, time.time()),
        "labels": {
            "usable": usable,
            "new": max(0, usable - trained),
            "trains_itself": settings.auto_train,
        },
    }
    facts = {
        **status,
        **added,
        "free": pool.count_free() + len(pool.validation_open),
        "unwritable": store.unwritable,
        "ignored_files": store.ignored_files,
        "needs_pretraining": app.context.is_pretrained_here and app.context.pretrained_key is None,
    }
    return {**added, "next_step": next_step(facts, app.studies)}


def epochs_of(stats: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the epochs `done`, their `total` and `seconds_left` of the running training; None while unknown.

    :param stats: as written by MONAI Label's trainers; at first still those of the previous training
    """
    if not (stats.get("epoch") and stats.get("total_epochs")) or stats.get("total_time"):
        return {"done": 0, "total": None, "seconds_left": None}
    done, total = int(stats["epoch"]), int(stats["total_epochs"])
    seconds_left = (now - float(stats["start_ts"])) / done * (total - done)
    return {"done": done, "total": total, "seconds_left": round(seconds_left, 1)}


def training_status(
    tasks: Sequence[Mapping[str, Any]], stats: Mapping[str, Mapping[str, Any]], now: float
) -> dict[str, Any]:
    """Return the newest training: `state`, `model`, epochs, and `detail`, the reason when it failed.

    :param tasks: trainings since the server started, oldest first
    :param stats: statistics of each model's newest training
    """
    busy = [task for task in tasks if task["status"] == "RUNNING"] or list(tasks[-1:])
    if not busy:
        return {"state": "idle", "model": "", "done": 0, "total": None, "seconds_left": None, "detail": ""}
    task = busy[0]
    state, model = _STATES[task["status"]], str(task["request"].get("model", ""))
    epochs = epochs_of(stats.get(model, {}) if state == "running" else {}, now)
    lines = [str(line).strip() for line in task.get("details", ())]
    detail = next((line for line in reversed(lines) if line), "") if state == "failed" else ""
    return {"state": state, "model": model, **epochs, "detail": detail}


def next_step(status: Mapping[str, Any], place: str) -> dict[str, str]:
    """Return what people do next: one sentence, `action` of its button, and that of a second one.

    Actions are "label", "train", "pretrain", "results" and "" for none.

    :param status: the status of selection, with the facts of `guidance`
    :param place: the studies folder, or the address of the DICOM server
    """
    text, action, other = _trouble(status, place) or _work(status) or _step(status)
    return {"text": text, "action": action, "other": other}


def _trouble(status: Mapping[str, Any], place: str) -> _Step | None:
    """Return what keeps people from labelling, if anything does."""
    progress, failed = status["progress"] or {}, status["failed"]
    if status["unwritable"]:
        return f"Labels cannot be saved ({status['unwritable']}): ask whoever runs the server.", "", ""
    if not status["images"]:
        return f"There are no images in {place}. {_empty(status, place)}", "", ""
    if failed == status["images"]:
        image, reason = next(iter(status["failures"].items()))
        return f"None of the images can be read, {failed:,} in all. {image}: {reason}", "", ""
    if progress.get("error") and status["stage"] == "preparing":
        return f"Preparing the images failed: {progress['error']}. It is tried again by itself.", "", ""
    return None


def _empty(status: Mapping[str, Any], place: str) -> str:
    if status["ignored_files"]:
        return f"What is there cannot be used: {status['ignored_files']}."
    if "://" in place:
        return "Send images of this app's modality to that DICOM server; they appear here by themselves."
    return "Copy PNG, JPEG, TIFF, NIfTI, NRRD or DICOM files there; they appear here by themselves."


def _work(status: Mapping[str, Any]) -> _Step | None:
    """Return what to do while a training runs, or before the encoder is pretrained."""
    training = status["training"]
    if training["state"] in ("queued", "running"):
        if training["model"] == _PRETRAINING:
            return "The encoder learns from these images. You can label meanwhile.", "label", ""
        model = "next" if status["round"] else "first"
        return f"The {model} model is being trained. You can go on labelling.", "label", ""
    if status["needs_pretraining"]:
        return "The encoder learns from these images first: pretrain it, once.", "pretrain", "label"
    return None


def _step(status: Mapping[str, Any]) -> _Step:
    """Return the step of the pool's stage."""
    new, free = status["labels"]["new"], status["free"]
    if status["stage"] == "preparing":
        return "The images are being compared. Until that is done, they come at random.", "label", ""
    if free <= 0:
        return _end(status)
    active = status["stage"] == "active"
    goal = status["batch_size"] if active else status["cold_start_budget"]
    left = goal - (new if active else status["labels"]["usable"])
    itself = status["labels"]["trains_itself"]
    if left > 0:
        then = "then a training starts by itself" if itself else "then Train"
        return f"{_count(min(left, free), 'more label')}, {then}.", "label", "train" if new else ""
    if not new:
        return "The newest model is being applied to the images. You can go on labelling.", "label", ""
    if itself:
        return "A training starts by itself in a moment. You can go on labelling.", "label", "train"
    return f"Train a model, with {_count(new, 'new label')}.", "train", "label"


def _end(status: Mapping[str, Any]) -> _Step:
    """Return the step when no image is left to hand out."""
    new = status["labels"]["new"]
    if status["handed_out"]:
        text = "The last images are in somebody's hands"
    elif status["failed"]:
        text = f"All images that can be read are done; {status['failed']:,} cannot be read"
    else:
        text = "All images are done"
    if new:
        return f"{text}. Train once more, with {_count(new, 'new label')}.", "train", "results"
    return f"{text}. See how good the models are.", "results", ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
