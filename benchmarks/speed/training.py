"""Speed of training against MONAI Label's own: part of `python -m benchmarks.speed`.

On all processors, as a server trains, in wall-clock seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from monai.utils import set_determinism

from benchmarks.phantoms.generate import generate
from benchmarks.speed.models import DEVICE, GPU, room
from benchmarks.speed.row import Row
from benchmarks.speed.stock_models import REQUEST, StockTrain, watched
from bundle_configs import Bundle
from trainers.segmentation.task import SegmentationTrain


class _Pairs:
    """A datastore of labels only."""

    def __init__(self, folder: Path) -> None:
        studies = sorted((folder / "studies").glob("*.png"))
        self.pairs = [{"image": str(p), "label": str(folder / "labels" / p.name)} for p in studies]

    def datalist(self) -> list[dict[str, str]]:
        return [dict(pair) for pair in self.pairs]


def training(quick: bool) -> Row:
    """Time epochs after the first of alternating trainings, two each, on all threads, as a server trains.

    One training each if quick.
    """
    size, count, epochs = (64, 4, 3) if quick else (256, 16, 6)
    seconds: list[list[float]] = [[], []]
    losses, threads = [0.0, 0.0], len(os.sched_getaffinity(0))
    with room(threads) as folder:
        generate(folder, count=count, seed=1, size=2 * size)
        bundle, pairs = Bundle("cxr_lungs", {"image_size": size}), _Pairs(folder)
        batch = bundle.get("train_batch_size")
        request = {"device": DEVICE, "max_epochs": epochs, "train_batch_size": batch}
        for turn in range(1 if quick else 2):
            places = [folder / f"{turn}-{name}" for name in ("stock", "ours")]
            for place in places:
                place.mkdir()
            tasks = [
                watched(StockTrain, time.perf_counter)(places[0], bundle),
                watched(SegmentationTrain, time.perf_counter)(places[1], bundle, 42),
            ]
            for which, (task, more) in enumerate(zip(tasks, (REQUEST, {}), strict=True)):
                set_determinism(42)
                task(request | more, pairs)
                set_determinism(None)
                seconds[which] += task.epochs[1:]
                losses[which] = task.losses[-1]
    return Row(
        f"An epoch of training: {count} radiographs at {size} pixels, batches of {batch}, {threads} threads",
        "BasicTrainTask, its own dataset, loader and metrics",
        "images as tensors in memory" + _layout(threads),
        median(seconds[0]),
        median(seconds[1]),
        f"loss of epoch {epochs}: {losses[0]:.3f}, {losses[1]:.3f}",
        3 if GPU else 1.2,
        "wall",
    )


def _layout(threads: int) -> str:
    """Describe the further optimisations of the trainer (`SegmentationTrain.network`)."""
    return ", AMP, channels last" if GPU else ", channels last" if threads > 1 else ""


COMPARISONS = (training,)


def rows(quick: bool) -> Iterator[Row]:
    """Yield all comparisons as they are measured."""
    return (compare(quick) for compare in COMPARISONS)
