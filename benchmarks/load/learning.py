"""Seconds from a saved label to a plan that knows it, beside the clicks of another annotator.

python -m benchmarks.load.learning --out runs/learning --count 1000

The folder is kept: a second run finds the pool and its features there.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import requests
import typer

from benchmarks.load.server_load import Asker
from benchmarks.phantoms.generate import generate
from benchmarks.server_process import Server

_CONF = {
    "hold_out": 0,
    "cold_start_method": "foreground_cover",
    "cold_start_budget": 50,
    "max_open": 1000,
    "image_size": 64,
    "channels": "[4,8]",
}


def measure(folder: Path, count: int, labels: int, encoder: str) -> dict[str, Any]:
    """Label images one by one; return seconds to each plan, and milliseconds per click with and without."""
    if not (folder / "studies").exists():
        generate(folder, count=count, seed=1, size=128)
    shutil.rmtree(folder / "studies" / "labels", ignore_errors=True)
    conf = {**_CONF, "state": folder / "state", "encoder": encoder}
    with Server("cxr_lungs", folder / "studies", conf, folder / "server.log") as server:
        server.wait(600)
        _wait_until_ready(server.url)
        idle = _clicks_beside(server.url, lambda: _look(server.url, 40))
        seconds: list[float] = []

        def annotate() -> None:
            for _ in range(labels):
                seconds.append(_label_next(server.url, folder / "labels"))

        busy = _clicks_beside(server.url, annotate)
    p50, worst = np.percentile(seconds[1:], (50, 100))
    return {
        "images": count,
        "encoder": encoder,
        "first_s": seconds[0],
        "p50_s": p50,
        "max_s": worst,
        "click_idle_ms": idle,
        "click_busy_ms": busy,
        "features_mb": sum(f.stat().st_size for f in (folder / "state" / "instant").rglob("*.npz")) / 2**20,
    }


def _label_next(url: str, labels: Path) -> float:
    """Label the next image of the plan; return the seconds from the answer to a plan with a newer head."""
    answer = requests.post(f"{url}/activelearning/auto", json={"client_id": "ann"}, timeout=60).json()
    before = answer["selection"].get("head") or 0
    with open(labels / f"{answer['id']}.png", "rb") as file:
        at = {"image": answer["id"]}
        requests.put(
            f"{url}/datastore/label", params=at, files={"label": file}, timeout=60
        ).raise_for_status()
    saved = time.monotonic()
    while _head(url) <= before:
        if time.monotonic() - saved > 300:
            raise RuntimeError("no plan knows the label")
        time.sleep(0.2)
    return time.monotonic() - saved


def _look(url: str, seconds: float) -> None:
    """Ask for the plan as often as `_label_next` does, without a label."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _head(url)
        time.sleep(0.2)


def _head(url: str) -> int:
    """Return the number of the head that the present plan was made with; 0 for none."""
    picks = requests.get(f"{url}/selection/plan", timeout=60).json()["picks"]
    return int(picks[0].get("head") or 0)


def _clicks_beside(url: str, work: Any) -> dict[str, float]:
    asker, times, thread = (
        Asker(url, "random", "other", ours=True),
        list[float](),
        threading.Thread(target=work),
    )
    asker.click()
    thread.start()
    while thread.is_alive():
        times.append(asker.click())
        time.sleep(0.05)
    p50, p95 = np.percentile(times, (50, 95))
    return {"p50": p50, "p95": p95, "clicks": len(times)}


def _wait_until_ready(url: str) -> None:
    """Wait until all features are there."""
    while True:
        progress = requests.get(f"{url}/selection/status", timeout=60).json()["progress"] or {}
        if progress.get("error"):
            raise RuntimeError(progress["error"])
        if progress.get("step") == "ready":
            return
        time.sleep(1)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pool and results.json; kept.")],
    count: Annotated[int, typer.Option(help="Images in the pool.")] = 1000,
    labels: Annotated[int, typer.Option(help="Labels to save.")] = 12,
    encoder: Annotated[str, typer.Option(help="As --conf encoder.")] = "descriptor",
) -> None:
    """Measure, and print the figures."""
    results = measure(out, count, labels, encoder)
    (out / "results.json").write_text(json.dumps(results, indent=1))
    typer.echo(json.dumps(results, indent=1))


if __name__ == "__main__":
    typer.run(main)
