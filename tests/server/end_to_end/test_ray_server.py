"""A server that embeds its pool on a Ray cluster of its own, on images in shared storage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server


def test_a_pool_is_embedded_on_ray(phantoms: Path, start: Callable[..., Server], tmp_path: Path) -> None:
    bucket, studies = tmp_path / "bucket", tmp_path / "studies"
    for folder in (bucket, studies):
        shutil.copytree(phantoms / "studies", folder)
    sorted(bucket.iterdir())[0].unlink()  # the server has it, the nodes do not
    conf = {"engine": "ray", "shared_studies": f"file://{bucket}"}
    server = start(studies, tmp_path / "state", **conf)
    annotator = Annotator(server.url, phantoms / "labels")
    annotator.wait_ready(rounds=0)
    assert annotator.status()["failed"] == 1, "what the nodes found is what is kept"
    assert annotator.label_next("auto")["selection"]["stage"] == "cold_start"
    assert "places for workers on 1 nodes" in server.log.read_text()
