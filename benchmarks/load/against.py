"""Many annotators at once on this version and on another, in turns: time per click, and nothing lost.

    git worktree add /tmp/base da59505
    python -m benchmarks.load.against --base /tmp/base --out runs/against

Each turn starts a server of one version on a pool of its own, lets all clients click, label and skip, and
compares what it left with the answers (`crowd_check`). With `--busy` a training runs meanwhile, and an image
arrives every second, which a refresh embeds. The machine should do nothing else.
"""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from contextlib import chdir, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import requests
import typer
from PIL import Image

from benchmarks.annotator import write_json
from benchmarks.hardware import processor, today
from benchmarks.load.busy import add_image, arriving
from benchmarks.load.crowd import Worker
from benchmarks.load.crowd_check import Record, check
from benchmarks.phantoms.generate import generate
from benchmarks.server_process import ROOT, Server

_MAX_PREPARING = 1800.0  # seconds
_CONF = {
    "cold_start_budget": 1_000,
    "cold_start_method": "cold_start",  # whatever a version's default is
    "active_method": "active",
    "duplicates": "off",
    "instant": "false",
}
_BUSY = {"epochs": 1_000, "image_size": 128, "auto_train": "false"}
_SIZE = 96  # pixels
_BEFORE_BUSY = 20.0  # seconds for the first labels, and for the training's start


def turn(checkout: Path, pool: Path, clients: int, seconds: float, busy: bool = False) -> dict[str, Any]:
    """Let the crowd loose on a server of the version in `checkout`; return clicks and errors.

    :param busy: clicks count while a training runs and images arrive
    """
    known = (checkout / "strategies" / "settings.py").read_text()  # an earlier version has fewer settings
    conf = {name: value for name, value in _CONF.items() if f"    {name}: " in known}
    record, conf = Record(), {**conf, **(_BUSY if busy else {}), "state": pool / "state"}
    app, env = str(checkout / "apps" / "cxr_lungs"), {"PYTHONPATH": str(checkout)}
    with chdir(checkout):  # where `python -m` looks for packages first
        server = Server(app, pool / "studies", conf, pool / "server.log", env=env)
    with server:
        server.wait()
        _wait_until_planned(server)
        ended = threading.Event()
        workers = [Worker(f"c{n:02d}", server.url, pool / "labels", record, ended) for n in range(clients)]
        for worker in workers:
            worker.start()
        if busy:
            _start_training(server)
            record.clicks.clear()
        with arriving(partial(_add, pool)) if busy else nullcontext():
            time.sleep(seconds)
        ended.set()
        for worker in workers:
            worker.join()
    p50, p99 = np.percentile(record.clicks, (50, 99)) * 1000
    wrong = [line for worker in workers for line in worker.unexpected] + check(pool, record, 0)[0]
    return {
        "clicks": len(record.clicks),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "handouts": len(record.handouts),
        "labels": sum(record.labels.values()),
        "wrong": wrong[:20],
    }


def _wait_until_planned(server: Server) -> None:
    end = time.monotonic() + _MAX_PREPARING
    while requests.get(f"{server.url}/info/", timeout=60).json()["selection"]["stage"] == "preparing":
        if time.monotonic() > end:
            raise RuntimeError(f"the pool is not prepared; see {server.log}")
        time.sleep(1.0)


def _add(pool: Path, number: int) -> None:
    """Add an image to a pool, and the label that the crowd saves for it."""
    label = np.zeros((_SIZE, _SIZE), np.uint8)
    label[10 : 11 + number % 80, 20:40] = 1
    Image.fromarray(label).save(pool / "labels" / f"new{number:04d}.png")
    add_image(pool / "studies", number, _SIZE)


def _start_training(server: Server) -> None:
    time.sleep(_BEFORE_BUSY)
    requests.post(f"{server.url}/train/segmentation", json={}, timeout=60).raise_for_status()
    time.sleep(_BEFORE_BUSY)


def main(
    base: Annotated[Path, typer.Option(help="A checkout of the version to compare with")],
    out: Annotated[Path, typer.Option(help="Folder for pools, logs and against.json; emptied first")],
    clients: Annotated[int, typer.Option(min=1, help="Annotators at once")] = 64,
    seconds: Annotated[float, typer.Option(help="Length of a turn")] = 180.0,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each version")] = 2,
    images: Annotated[int, typer.Option(min=16, help="Size of the pool")] = 1_000,
    busy: Annotated[bool, typer.Option("--busy", help="While a training runs and images arrive")] = False,
) -> None:
    """Compare the 99th percentile of a click's time; exit with 1 if anything was lost or given twice."""
    shutil.rmtree(out, ignore_errors=True)
    generate((out / "pool").resolve(), count=images, seed=1, size=_SIZE)
    rows: list[dict[str, Any]] = []
    for number in range(turns):
        for name, checkout in (("base", base.resolve()), ("this", ROOT)):
            pool = (out / f"{name}-{number}").resolve()
            shutil.copytree(out / "pool", pool)
            rows.append({"version": name, **turn(checkout, pool, clients, seconds, busy)})
            typer.echo(rows[-1])
    p99 = {
        name: statistics.median(row["p99_ms"] for row in rows if row["version"] == name)
        for name in ("base", "this")
    }
    facts = {"processor": processor(), "date": today(), "clients": clients, "seconds": seconds, "busy": busy}
    write_json(out / "against.json", {**facts, "p99_ratio": p99["this"] / p99["base"], "rows": rows})
    typer.echo(f"p99 of a click: {p99['this']:.0f} ms, {p99['this'] / p99['base']:.2f} times the base's")
    raise typer.Exit(1 if any(row["wrong"] for row in rows) else 0)


if __name__ == "__main__":
    typer.run(main)
