"""Waiting time for the next image over HTTP: from a plan, during a refresh, and during training.

python -m benchmarks.latency --studies IMAGES --labels MASKS --out runs/latency
"""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.annotator import Annotator, write_json
from benchmarks.experiments.simulate import fill_studies, find_images
from benchmarks.server_process import running


def measure(annotator: Annotator, name: str, go_on: Callable[[int], bool]) -> dict[str, float]:
    """Request images while `go_on(number of answers)` holds; return percentiles in milliseconds."""
    times: list[float] = []
    request: dict[str, Any] = {}
    while go_on(len(times)):
        started = time.perf_counter()
        answer = annotator.client.next_sample("auto", request)
        request["release"] = answer["id"]  # released with the next click, so that the pool is not used up
        times.append((time.perf_counter() - started) * 1000)
        time.sleep(0.05)  # a click, not a load test
    p50, p99 = np.percentile(times, (50, 99))
    typer.echo(f"| {name} | {len(times)} | {p50:.0f} | {p99:.0f} | {max(times):.0f} |")
    return {"clicks": len(times), "p50": float(p50), "p99": float(p99), "max": max(times)}


def main(
    studies: Annotated[Path, typer.Option(help="Folder of images", exists=True)],
    labels: Annotated[Path, typer.Option(help="Folder of true masks", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder for the pool, the log and latency.json; emptied first")],
    encoder: Annotated[str, typer.Option(help="Encoder, as --conf encoder")] = "descriptor",
    clicks: Annotated[int, typer.Option(help="Clicks on a planned pool")] = 300,
    epochs: Annotated[int, typer.Option(help="Epochs of the training in the background")] = 10,
) -> None:
    """Measure the waiting times of next_sample; print and save them."""
    shutil.rmtree(out, ignore_errors=True)
    fill_studies(find_images(studies), out / "studies")
    conf = {"encoder": encoder, "state": (out / "state").resolve(), "cold_start_budget": 8}
    with running("cxr_lungs", (out / "studies").resolve(), conf, (out / "server.log").resolve()) as server:
        annotator = Annotator(server.url, labels)
        typer.echo("| while | clicks | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|")
        rows = {
            "refresh": measure(
                annotator, "refresh embeds and maps", lambda n: annotator.status()["stage"] == "preparing"
            )
        }
        annotator.wait_ready(rounds=0)
        rows["planned"] = measure(annotator, "planned, nothing runs", lambda n: n < clicks)
        for _ in range(8):
            annotator.label_next("auto")
        annotator.client.train_start("segmentation", {"max_epochs": epochs})
        rows["training"] = measure(
            annotator,
            "a training runs",
            lambda n: annotator.client.train_status()["status"] in ("SUBMITTED", "RUNNING"),
        )
        rows["scoring"] = measure(
            annotator, "refresh scores the new model", lambda n: annotator.status()["stage"] != "active"
        )
    write_json(out / "latency.json", {"processor": platform.processor() or platform.machine(), "rows": rows})


if __name__ == "__main__":
    typer.run(main)
