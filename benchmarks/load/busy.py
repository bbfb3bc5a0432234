"""Time per click while a pool is busy, and the time from a new image to the start of its work.

python -m benchmarks.load.busy --out runs/busy

32 clients click on a quiet server, then while a training runs and new images arrive, which a refresh embeds.
"""

from __future__ import annotations

import json
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import requests
import typer
from PIL import Image

from benchmarks.annotator import Annotator
from benchmarks.load.server_load import Asker
from benchmarks.phantoms.generate import generate
from benchmarks.server_process import Server

_CLIENTS, _SECONDS, _ARRIVALS = 32, 20.0, 10
_CONF = {"hold_out": 0, "cold_start_budget": 4, "max_open": 100, "epochs": 400, "image_size": 128}


def click_times(url: str) -> list[float]:
    """Let all clients click for a while; return the milliseconds of each click."""
    end = time.monotonic() + _SECONDS

    def ask(name: str) -> list[float]:
        asker, times = Asker(url, "auto", name, ours=True), list[float]()
        while time.monotonic() < end:
            times.append(asker.click())
        return times

    with ThreadPoolExecutor(_CLIENTS) as clients:
        return [t for times in clients.map(ask, (f"c{n}" for n in range(_CLIENTS))) for t in times]


def add_image(studies: Path, number: int, size: int = 256) -> None:
    """Add a picture of noise, under its name at once."""
    pixels = np.random.default_rng(number).integers(0, 256, (size, size), dtype=np.uint8)
    Image.fromarray(pixels).save(studies / ".part.png")
    (studies / ".part.png").rename(studies / f"new{number:04d}.png")


def seconds_to_start(server: Server, studies: Path, number: int) -> float:
    """Add an image; return the seconds until a refresh is at work."""
    log = server.log.stat().st_size
    started = time.monotonic()
    add_image(studies, number)
    while time.monotonic() < started + 120:
        with open(server.log, "rb") as file:
            file.seek(log)
            if b"Refresh: embedding" in file.read():
                return time.monotonic() - started
        time.sleep(0.005)
    raise RuntimeError(f"no refresh within 120 s of a new image; see {server.log}")


@contextmanager
def arriving(add: Callable[[int], Any]) -> Iterator[None]:
    """Call `add` with a new number every second, until the block ends."""
    stop = threading.Event()

    def run() -> None:
        number = 1000
        while not stop.wait(1.0):
            add(number)
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Measure a server of its own on a pool of `count` phantoms."""
    generate(folder, count=count, seed=1, size=128)
    studies = folder / "studies"
    with Server("cxr_lungs", studies, {**_CONF, "state": folder / "state"}, folder / "server.log") as server:
        server.wait()
        annotator = Annotator(server.url, folder / "labels")
        annotator.wait_ready(rounds=0)
        for _ in range(4):
            annotator.label_next("auto")
        time.sleep(5)
        starts = []
        for number in range(_ARRIVALS):
            starts.append(seconds_to_start(server, studies, number))
            time.sleep(3)
        quiet = click_times(server.url)
        requests.post(f"{server.url}/train/segmentation", json={}, timeout=60).raise_for_status()
        time.sleep(20)  # until it trains
        with arriving(partial(add_image, studies)):
            busy = click_times(server.url)
    return {
        "start_s": {"median": statistics.median(starts), "max": max(starts)},
        **{name: _summary(times) for name, times in (("quiet", quiet), ("busy", busy))},
    }


def _summary(times: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(times, (50, 99))
    return {"clicks_per_s": len(times) / _SECONDS, "p50_ms": float(p50), "p99_ms": float(p99)}


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pool and results.json; replaced.")],
    images: Annotated[int, typer.Option(help="Images in the pool.")] = 1_000,
) -> None:
    """Measure a quiet and a busy pool, and print the figures."""
    shutil.rmtree(out, ignore_errors=True)
    results = measure(out, images)
    (out / "results.json").write_text(json.dumps(results, indent=1))
    typer.echo(json.dumps(results, indent=1))


if __name__ == "__main__":
    typer.run(main)
