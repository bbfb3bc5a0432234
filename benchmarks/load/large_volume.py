"""Time per click of one client while another predicts, and saves, a large volume.

python -m benchmarks.load.large_volume --out runs/large_volume
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import nibabel
import numpy as np
import requests
import torch
import typer
from monai.utils import set_determinism

from benchmarks.load.server_load import Asker
from benchmarks.server_process import Server
from bundle_configs import Bundle

_SHAPE = (512, 512, 200)
_SMALL, _SECONDS, _RUNS = 20, 20.0, 3
_CONF = {"cold_start_budget": 2, "max_open": 100, "channels": "[4,8,16]"}


def make_pool(studies: Path) -> None:
    """Write one large volume and several small ones, all noise."""
    studies.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, shape in [("large", _SHAPE), *((f"small{n:02d}", (36, 34, 20)) for n in range(_SMALL))]:
        voxels = random.integers(0, 1000, shape, dtype=np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), studies / f"{name}.nii.gz")


def publish_untrained(folder: Path) -> None:
    """Publish a network of random weights, which predicts something everywhere."""
    bundle = Bundle("volumes", {"channels": [4, 8, 16]})
    set_determinism(1)
    details = {"bundle": "volumes", "overrides": bundle.values, "labels": bundle.get("labels")}
    network = bundle.new("network_def").state_dict()
    folder.mkdir(parents=True)
    torch.save({"model": network, "details": {**details, "images": [], "labelled": []}}, folder / "model.pt")


def clicks_beside(url: str, work: Callable[[], Any]) -> dict[str, float]:
    """Click every 50 ms while some work is done; return milliseconds per click, and the work's seconds."""
    thread, asker, times = (
        threading.Thread(target=work),
        Asker(url, "random", "one", ours=True),
        list[float](),
    )
    asker.click()
    started = time.monotonic()
    thread.start()
    while thread.is_alive():
        times.append(asker.click())
        time.sleep(0.05)
    p50, p95, worst = np.percentile(times, (50, 95, 100))
    seconds = time.monotonic() - started
    return {"p50_ms": p50, "p95_ms": p95, "max_ms": worst, "clicks": len(times), "seconds": seconds}


def measure(folder: Path) -> dict[str, Any]:
    """Measure one server's clicks alone, beside a prediction and beside saving a label."""
    studies, label = folder / "studies", folder / "label.nii.gz"
    make_pool(studies)
    publish_untrained(folder / "state")
    drawn = np.zeros(_SHAPE, np.uint8)
    drawn[100:400, 100:400, 20:180] = 1
    nibabel.save(nibabel.Nifti1Image(drawn, np.eye(4)), label)
    conf = {**_CONF, "state": folder / "state"}
    with Server("volumes", studies, conf, folder / "server.log") as server:
        server.wait()
        _wait_until_ready(server)

        def predict() -> None:
            requests.post(
                f"{server.url}/infer/segmentation", params={"image": "large", "output": "image"}, timeout=600
            ).raise_for_status()

        def save() -> None:
            with open(label, "rb") as file:
                requests.put(
                    f"{server.url}/datastore/label",
                    params={"image": "large"},
                    files={"label": ("label.nii.gz", file)},
                    timeout=600,
                ).raise_for_status()

        predict()  # the first one loads the network, and touches memory that the machine has to find first
        works = {"alone": lambda: time.sleep(_SECONDS), "predict": predict, "save": save}
        return {name: _repeated(server.url, work) for name, work in works.items()}


def _repeated(url: str, work: Callable[[], Any]) -> dict[str, float]:
    """Do the work several times; return the median of each figure."""
    runs = [clicks_beside(url, work) for _ in range(_RUNS)]
    return {figure: float(np.median([run[figure] for run in runs])) for figure in runs[0]}


def _wait_until_ready(server: Server) -> None:
    while True:
        progress = requests.get(f"{server.url}/selection/status", timeout=60).json()["progress"] or {}
        if progress.get("error"):
            raise RuntimeError(progress["error"])
        if progress.get("step") == "ready":
            return
        time.sleep(1)


def main(out: Annotated[Path, typer.Option(help="Folder for the pool and results.json; replaced.")]) -> None:
    """Measure, and print the figures."""
    shutil.rmtree(out, ignore_errors=True)
    results = measure(out)
    (out / "results.json").write_text(json.dumps(results, indent=1))
    typer.echo(json.dumps(results, indent=1))


if __name__ == "__main__":
    typer.run(main)
