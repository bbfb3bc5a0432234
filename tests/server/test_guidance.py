"""The next step that the pages show, and the training in the status."""

from __future__ import annotations

from typing import Any

import pytest

from server.guidance import next_step, training_status

IDLE = training_status([], {}, 0.0)
STATUS: dict[str, Any] = {
    "stage": "cold_start",
    "round": 0,
    "images": 40,
    "free": 37,
    "handed_out": 0,
    "failed": 0,
    "failures": {},
    "cold_start_budget": 6,
    "batch_size": 4,
    "progress": None,
    "unwritable": "",
    "ignored_files": "",
    "needs_pretraining": False,
    "labels": {"usable": 3, "new": 3, "trains_itself": False},
    "training": IDLE,
}


def labels(usable: int, new: int, itself: bool = False) -> dict[str, Any]:
    return {"usable": usable, "new": new, "trains_itself": itself}


@pytest.mark.parametrize(
    "changed, text, action, other",
    [
        ({}, "3 more labels, then Train.", "label", "train"),
        ({"labels": labels(0, 0)}, "6 more labels, then Train.", "label", ""),
        ({"labels": labels(5, 5), "free": 1}, "1 more label, then Train.", "label", "train"),
        (
            {"labels": labels(3, 3, True)},
            "3 more labels, then a training starts",
            "label",
            "train",
        ),
        ({"stage": "preparing"}, "The images are being compared.", "label", ""),
        (
            {"stage": "bridging", "labels": labels(6, 6)},
            "with 6 new labels.",
            "train",
            "label",
        ),
        ({"stage": "bridging", "labels": labels(6, 0)}, "is being applied", "label", ""),
        ({"stage": "active", "round": 1, "labels": labels(7, 1)}, "3 more labels, then", "label", "train"),
        ({"stage": "active", "round": 1, "labels": labels(10, 4)}, "with 4 new labels", "train", "label"),
        ({"stage": "done", "free": 0, "labels": labels(40, 0)}, "All images are done.", "results", ""),
        ({"free": 0, "handed_out": 2}, "in somebody's hands. Train once more", "train", "results"),
        ({"free": 0, "failed": 2, "labels": labels(38, 0)}, "2 cannot be read", "results", ""),
        ({"images": 0, "free": 0}, "There are no images in /data/x. Copy PNG", "", ""),
        ({"images": 0, "ignored_files": "3 files are .txt"}, "used: 3 files are .txt.", "", ""),
        (
            {"images": 1, "failed": 1, "failures": {"a": "no picture"}},
            "1 in all. a: no picture",
            "",
            "",
        ),
        ({"unwritable": "read-only"}, "Labels cannot be saved (read-only)", "", ""),
        ({"stage": "preparing", "progress": {"error": "no memory"}}, "failed: no memory.", "", ""),
        ({"needs_pretraining": True, "stage": "preparing"}, "pretrain it, once.", "pretrain", "label"),
        ({"training": {**IDLE, "state": "running"}}, "The first model is being trained.", "label", ""),
        ({"training": {**IDLE, "state": "running"}, "round": 1}, "The next model is", "label", ""),
    ],
)
def test_each_stage_has_one_sentence_and_a_button(
    changed: dict[str, Any], text: str, action: str, other: str
) -> None:
    step = next_step({**STATUS, **changed}, "/data/x")
    assert text in step["text"] and (step["action"], step["other"]) == (action, other), step


def test_a_training_has_its_epochs_while_it_runs_and_its_reason_when_it_failed() -> None:
    stats = {"segmentation": {"epoch": 3, "total_epochs": 12, "start_ts": 940.0}}
    task: dict[str, Any] = {"status": "RUNNING", "request": {"model": "segmentation"}, "details": ["a"]}
    now = training_status([{**task, "status": "DONE"}, task], stats, 1000.0)
    assert now["state"] == "running" and (now["done"], now["total"], now["seconds_left"]) == (3, 12, 180.0)
    failed = training_status([{**task, "status": "ERROR", "details": ["x", "No memory", " "]}], stats, 0.0)
    assert (failed["state"], failed["detail"], failed["total"]) == ("failed", "No memory", None)
    queued = {**task, "status": "SUBMITTED"}
    assert training_status([task, queued], stats, 1000.0)["state"] == "running"
    assert training_status([queued], stats, 0.0)["state"] == "queued"
