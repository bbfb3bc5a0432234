"""Growth of the time of each planning step with the number of images; a part of `benchmarks.speed`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.speed.million import clustered_map
from strategies import selectors
from strategies.selectors.numerics.cluster import kmeans_sweep
from strategies.selectors.numerics.silhouette import mean_silhouettes

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)

TITLE = "Growth with the number of images"
SEED, BUDGET, MAX_K = 42, 100, 20
_LAST_SIZES = 3  # sizes for the second slope
_SHORT_SECONDS = 1.0  # faster steps are measured three times


def sizes(quick: bool) -> list[int]:
    """Return the numbers of points to measure."""
    return [1_000, 3_000, 10_000] if quick else [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000]


def measure(count: int) -> dict[str, float]:
    """Return the processor seconds of each step on a map of `count` points; short steps: best of three."""
    points, entropy = clustered_map(count), np.random.default_rng(2).uniform(0.1, 0.6, count)
    with threadpool_limits(limits=1):
        mean_silhouettes(points[:50], [np.arange(50) % 2])  # compile
        labels_of = kmeans_sweep(points, MAX_K, SEED, n_init=1)
        labels = labels_of[12]
        members = np.flatnonzero(labels == 0)
        steps: dict[str, Callable[[], Any]] = {
            "k-means, k = 2 .. 20, one start": lambda: kmeans_sweep(points, MAX_K, SEED, n_init=1),
            "silhouettes, k = 2 .. 20": lambda: mean_silhouettes(points, list(labels_of.values())),
            "medoid of one of 12 clusters": lambda: selectors.medoid(points, members),
            "diameter": lambda: selectors.diameter(points),
            f"cold start, {BUDGET} picks": lambda: selectors.cold_start(points, labels, BUDGET),
            f"active, {BUDGET} picks": lambda: selectors.active(points, entropy, BUDGET),
        }
        return {name: _seconds(work) for name, work in steps.items()}


def _seconds(work: Callable[[], Any]) -> float:
    times: list[float] = []
    while len(times) < (3 if not times or times[0] < _SHORT_SECONDS else 1):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def slope(seconds: Mapping[int, float]) -> float:
    """Return p of the power law seconds = c * points^p that fits best on logarithmic axes."""
    return float(np.polyfit(np.log(list(seconds)), np.log(np.maximum(list(seconds.values()), 1e-9)), 1)[0])


def table(steps: Mapping[str, Mapping[int, float]]) -> str:
    """Return seconds by step (rows) and size (columns), with fitted slopes, as Markdown."""
    counts = sorted(next(iter(steps.values())))
    head = ["seconds", *(f"{count:,}" for count in counts), "slope", f"slope of the last {_LAST_SIZES}"]
    lines = [head, ["---"] * len(head)]
    for name, seconds in steps.items():
        last = {count: seconds[count] for count in counts[-_LAST_SIZES:]}
        slopes = [f"{slope(seconds):.2f}", f"{slope(last):.2f}"]
        lines.append([name, *(f"{seconds[count]:.3g}" for count in counts), *slopes])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def draw(steps: Mapping[str, Mapping[int, float]], path: Path) -> None:
    """Plot the seconds of each step against the size."""
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, seconds in steps.items():
        counts = sorted(seconds)
        axis.plot(
            counts, [seconds[n] for n in counts], marker="o", label=f"{name} (slope {slope(seconds):.2f})"
        )
    axis.set(xscale="log", yscale="log", xlabel="images on the map", ylabel="processor seconds")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=150)
    plt.close(figure)
