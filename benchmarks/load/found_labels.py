"""Seconds from start to first answer of a server that finds many labels, against one that finds none.

python -m benchmarks.load.found_labels --out runs/found_labels
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import requests
import typer
from PIL import Image

from benchmarks.server_process import Server

_WINDOW = 20.0  # seconds over which checks are counted
_MAX_LINKS = 50_000  # of one file; file systems allow a little more
_CONF = {"cold_start_budget": 2, "image_size": 64, "channels": "[4,8]"}


def make_pool(studies: Path, count: int, is_labelled: bool) -> None:
    """Link one picture `count` times under different names, and one label for each."""
    final = studies / "labels" / "final"
    final.mkdir(parents=True)
    picture, mask = studies.parent / f"{studies.name}.png", studies.parent / f"{studies.name}_mask.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32), dtype=np.uint8)).save(picture)
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(mask)
    for folder, file in ((studies, picture), *([(final, mask)] if is_labelled else [])):
        for number in range(count):
            target = folder / f"i{number:06d}.png"
            if number % _MAX_LINKS:
                os.link(file, target)
            else:
                shutil.copy(file, target)
                file = target


def measure(studies: Path, is_labelled: bool) -> dict[str, float]:
    """Start a server on a pool; return seconds to its first answer and its labels per second of checking."""
    started = time.monotonic()
    folder = studies.with_name(f"{studies.name}_server")
    with Server("cxr_lungs", studies, {**_CONF, "state": folder}, folder / "server.log") as server:
        server.wait(600)
        answered = time.monotonic()
        while is_labelled and not _labelled(server):
            time.sleep(0.5)
        first, began = _labelled(server), time.monotonic()
        time.sleep(_WINDOW)
        rate = (_labelled(server) - first) / (time.monotonic() - began)
        return {"start_s": answered - started, "checked_per_s": rate}


def _labelled(server: Server) -> int:
    return int(requests.get(f"{server.url}/selection/status", timeout=60).json()["labelled"])


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pools and results.json; replaced.")],
    count: Annotated[int, typer.Option(help="Number of images, and of labels.")] = 100_000,
) -> None:
    """Measure both, and print the figures."""
    shutil.rmtree(out, ignore_errors=True)
    results = {}
    for name, is_labelled in (("none", False), ("all", True)):
        make_pool(out / name, count, is_labelled)
        results[name] = measure(out / name, is_labelled)
    (out / "results.json").write_text(json.dumps(results, indent=1))
    typer.echo(json.dumps(results, indent=1))


if __name__ == "__main__":
    typer.run(main)
