"""A server killed at any moment resumes where it was when it is started again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server


def _until(true: Callable[[], Any], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)


def test_killed_while_embedding_while_labelling_and_while_training(
    phantoms: Path, start: Callable[..., Server], tmp_path: Path
) -> None:
    studies, state = tmp_path / "studies", tmp_path / "state"
    shutil.copytree(phantoms / "studies", studies)

    start = partial(start, preset="paper")  # whose plan numbers its picks
    server = start(studies, state)  # killed as soon as its first batch of embeddings is there
    annotator = Annotator(server.url, phantoms / "labels")
    _until(lambda: (annotator.status()["progress"] or {"step": ""})["step"] not in ("", "checking"))
    server.stop(kill=True)

    server = start(studies, state)
    annotator = Annotator(server.url, phantoms / "labels")
    annotator.wait_ready(rounds=0)
    first = [annotator.label_next("auto")["id"] for _ in range(2)]
    server.stop(kill=True)

    server = start(studies, state)
    annotator = Annotator(server.url, phantoms / "labels")
    status = annotator.status()
    assert (status["stage"], status["labelled"]) == ("cold_start", 2)  # at once: the plan was kept
    rest = [annotator.label_next("auto") for _ in range(2)]
    assert [answer["selection"]["rank"] for answer in rest] == [3, 4]
    assert len({*first, *(answer["id"] for answer in rest)}) == 4

    annotator.client.train_start("segmentation", {"max_epochs": 40})
    _until(lambda: annotator.client.info()["train_stats"]["segmentation"].get("epoch", 0) >= 1)
    server.stop(kill=True)
    assert not (state / "model.pt").exists()

    server = start(studies, state)  # the training is started again, with the same request
    annotator = Annotator(server.url, phantoms / "labels")
    annotator.wait_ready(rounds=1)
    assert annotator.status()["stage"] == "active"
    assert annotator.client.info()["train_stats"]["segmentation"]["epoch"] == 40
