"""The papers' selection on 138 real radiographs with a real pretrained encoder, through a real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import requests

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server
from pool.database.state import State
from strategies import selectors


def test_cold_start_and_first_round(
    real_data: Path, start: Callable[..., Server], tmp_path: Path, reference: ModuleType
) -> None:
    studies = tmp_path / "studies"
    shutil.copytree(real_data / "montgomery" / "images", studies, copy_function=shutil.copyfile)
    encoder = real_data.parent / "weights" / "mobilenet_v2_imagenet"
    server = start(
        studies,
        tmp_path / "state",
        preset="paper",
        encoder=f"transformers:{encoder}",
        cold_start_budget=8,
        epochs=1,
        image_size=128,
        channels="[8,16,32]",
    )
    annotator = Annotator(server.url, real_data / "montgomery" / "labels")
    annotator.wait_ready(rounds=0)
    assert annotator.status()["failed"] == 0 and annotator.status()["images"] == 138

    state = State(tmp_path / "state")
    layout = state.maps.get(1)
    labels = selectors.cluster_by_silhouette(layout.points, 8, 42).labels
    expected = [
        layout.images[row] for row, _, _ in reference.cold_start(layout.points.tolist(), labels.tolist(), 8)
    ]
    answers = [annotator.label_next("auto") for _ in range(8)]
    assert [answer["id"] for answer in answers] == expected
    assert answers[0]["selection"]["encoder"].startswith("transformers:mobilenet_v2_imagenet:")

    annotator.train(None)
    annotator.wait_ready(rounds=1)
    values = state.scores.entropies(state.models.all()[0].fingerprint)
    rows = [layout.images.index(answer["id"]) for answer in answers]
    chosen = reference.active(
        layout.points.tolist(), [values.get(i, 0.0) for i in layout.images], 6, 0.3, rows
    )
    unnamed = (requests.post(f"{server.url}/activelearning/auto", json={}, timeout=30) for _ in range(6))
    offered = [answer.json() for answer in unnamed]
    assert [answer["id"] for answer in offered] == [layout.images[row] for row, _ in chosen]
    assert [answer["selection"]["score"] for answer in offered] == pytest.approx(
        [score for _, score in chosen]
    )
    results = list(annotator.evaluate([studies / f"{offered[0]['id']}.png"]))
    assert 0 <= min(results[0][1]["dice"]) <= max(results[0][1]["dice"]) <= 1
