"""Pretrain on real volumes and plot the three losses: does CSAL-3D learn anything here?

    python -m benchmarks.csal3d --studies IMAGES --out results/csal3d [--iterations 300] [--conf KEY=VALUE]

Runs the train task of the app `volumes` without a server. Restart with the same --out to resume.
"""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import torch
import typer
import yaml

from benchmarks.hardware import processor, today
from bundle_configs import Bundle
from pool.datastore import PoolDatastore
from trainers.csal3d.task import Pretraining

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)

_WINDOW = 20  # points of the running mean


def smoothed(values: list[float]) -> np.ndarray:
    """Return the running mean over each value and up to 19 before it."""
    sums = np.cumsum([0.0, *values])
    first = np.maximum(np.arange(len(values)) + 1 - _WINDOW, 0)
    last = np.arange(len(values)) + 1
    return (sums[last] - sums[first]) / (last - first)


def falls(curve: list[dict[str, float]], names: list[str]) -> dict[str, dict[str, float]]:
    """Return the mean of each loss over the first and the last tenth of the run."""
    tenth = max(1, len(curve) // 10)
    return {
        name: {
            "first_tenth": float(np.mean([point[name] for point in curve[:tenth]])),
            "last_tenth": float(np.mean([point[name] for point in curve[-tenth:]])),
        }
        for name in names
    }


def draw(curve: list[dict[str, float]], names: list[str], path: Path) -> None:
    """Plot each loss in its own panel: every point, and the running mean."""
    figure, axes = plt.subplots(
        1, len(names), figsize=(4 * len(names), 3.4), layout="constrained", squeeze=False
    )
    x = [point["iteration"] for point in curve]
    for axis, name in zip(axes[0], names, strict=True):
        values = [point[name] for point in curve]
        axis.plot(x, values, ".", color="tab:gray", alpha=0.4, markersize=3)
        axis.plot(x, smoothed(values), color="tab:blue")
        axis.set(xlabel="iteration", title=name)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    studies: Annotated[Path, typer.Option(help="Folder of volumes", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for curve.csv, curve.png, run.json and state/")],
    iterations: Annotated[int, typer.Option(help="Iterations", min=2)] = 300,
    seed: Annotated[int, typer.Option(help="Seed")] = 42,
    losses: Annotated[str, typer.Option(help="Terms of the loss")] = "inpainting,rotation,consistency",
    conf: Annotated[list[str] | None, typer.Option(help="Settings of the app, as KEY=VALUE")] = None,
) -> None:
    """Pretrain and plot the losses."""
    values: dict[str, Any] = {}
    for pair in conf or []:
        key, _, text = pair.partition("=")
        values[key] = yaml.safe_load(text)
    bundle, state = Bundle("volumes", values), out / "state"
    state.mkdir(parents=True, exist_ok=True)
    store = PoolDatastore(str(studies.resolve()), bundle.get("labels"), read_only=True)
    started = time.time()
    Pretraining(state, bundle, seed)({"iterations": iterations, "losses": losses}, store)
    details = torch.load(state / "pretrained.pt", weights_only=True)["details"]
    curve, names = details.pop("curve"), details["losses"]
    means = falls(curve, names)
    images = {"images": len(details.pop("images")), "trained_on": len(details.pop("trained_on"))}
    seconds = round(time.time() - started)
    run_facts = {"seconds": seconds, "hardware": processor(), "date": today()}
    record = {**details, **images, **run_facts, "means": means}
    (out / "run.json").write_text(json.dumps(record, indent=1) + "\n")
    with open(out / "curve.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["iteration", *names, "total"])
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in point.items()} for point in curve)
    draw(curve, names, out / "curve.png")
    for name, value in means.items():
        typer.echo(f"{name}: {value['first_tenth']:.4f} -> {value['last_tenth']:.4f}")


if __name__ == "__main__":
    typer.run(main)
