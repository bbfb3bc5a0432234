"""Speed of `engine: ray` on one machine: the overhead of Ray, and the gain of a second worker.

Part of `python -m benchmarks.speed`; alone, `python -m benchmarks.speed_cluster [--quick]` prints its rows.
Times are wall-clock seconds, since the work is in other processes; the clock starts once all workers run.
Each side is restricted to the processors it states (Linux; except for Ray's driver, which does little):
otherwise the threads that read images would give one worker several, and a second could not double its speed.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from transformers import ResNetConfig, ResNetModel

from benchmarks.phantoms.generate import generate
from benchmarks.speed.row import Row
from strategies.engine.image_pass import BATCH
from strategies.engine.local import Batch, Engine, run_batches
from strategies.engine.worker import Worker
from strategies.engine.workers import EmbedWorker

_WINDOWS = 3  # the median of these is reported
_PREPARE = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224},
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip


class TellingWorker(EmbedWorker):
    """Report with each vector the process that computed it."""

    def look(self, images: Sequence[Any]) -> list[Any]:
        return [(os.getpid(), result.vector) for result in super().look(images)]


class IdleWorker(Worker):
    """Do nothing."""

    def read(self, path: str) -> int:
        return os.getpid()


@contextmanager
def _processors(count: int) -> Iterator[None]:
    """Restrict threads and processes started in the block to `count` processors."""
    before = os.sched_getaffinity(0)
    if count > len(before):
        raise RuntimeError(f"this row needs {count} processors; only {len(before)} are available")
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _ray(workers: int) -> Iterator[Engine]:
    """Start an engine on a cluster of one node with as many processors as workers."""
    from ray.cluster_utils import Cluster

    from strategies.engine.ray.engine import RayEngine

    node = {"num_cpus": workers, "object_store_memory": 512 * 2**20, "include_dashboard": False}
    with _processors(workers):
        cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield RayEngine(cluster.address)
    finally:
        cluster.shutdown()


@contextmanager
def _local(threads: int) -> Iterator[Engine]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _processors(threads):
            yield run_batches
    finally:
        torch.set_num_threads(before)


@contextmanager
def _pool(quick: bool) -> Iterator[tuple[partial[Worker], list[Batch], str]]:
    """Yield a worker factory, batches of phantoms, and a description of both."""
    with tempfile.TemporaryDirectory() as name:
        folder, size = Path(name), 256 if quick else 1024
        generate(folder, count=4 * BATCH, seed=1, size=size)
        items = [(path.stem, str(path)) for path in sorted((folder / "studies").iterdir())]
        batches: list[Batch] = [items[n : n + BATCH] for n in range(0, len(items), BATCH)]
        encoder, what = "descriptor", "descriptor"
        if not quick:
            torch.manual_seed(0)
            ResNetModel(ResNetConfig()).save_pretrained(folder / "net")
            (folder / "net" / "preprocessor_config.json").write_text(json.dumps(_PREPARE))
            encoder, what = f"transformers:{folder / 'net'}", "ResNet-50, random weights"
        worker: Any = partial(TellingWorker, encoder, None, "cxr_lungs", {}, True)
        yield worker, batches, f"{what}, images of {size} x {size}"


def _time(
    engine: Engine,
    make_worker: Callable[[], Worker],
    batches: list[Batch],
    workers: int,
    count: int,
    warm: int,
) -> tuple[float, dict[str, Any]]:
    """Return the median seconds for `count` batches, and the results by image.

    The clock starts once each worker has processed `warm` images.
    """
    images_of, vectors, seconds = Counter[int](), dict[str, Any](), list[float]()
    answers = engine(make_worker, cycle(batches))

    def take(limit: int) -> None:
        for done in islice(answers, limit):
            for result in done:
                process, vector = result.found if isinstance(result.found, tuple) else (result.found, None)
                images_of[process] += 1
                vectors[result.image] = vector

    while len(images_of) < workers or min(images_of.values()) < warm:
        take(1)
    while len(vectors) < sum(map(len, batches)):
        take(1)
    for _ in range(_WINDOWS):
        started = time.perf_counter()
        take(count)
        seconds.append(time.perf_counter() - started)
    answers.close()  # type: ignore[attr-defined]
    return median(seconds), vectors


def _compare(
    quick: bool, names: tuple[str, str], engines: tuple[Any, Any], workers: tuple[int, int], **more: Any
) -> Row:
    count = 8 if quick else 16
    with _pool(quick) as (make_worker, batches, what):
        sides = []
        for engine, number in zip(engines, workers, strict=True):
            with engine as run:
                sides.append(_time(run, make_worker, batches, number, count, 4 * BATCH))
    (plain, one), (ours, other) = sides
    gap = max(float(np.abs(one[image] - other[image]).max() / np.abs(one[image]).max()) for image in one)
    work = f"Embedding {count * BATCH} images: {what}"
    note = ", ".join(f"{count * BATCH / side:.1f}" for side in (plain, ours)) + " images/s"
    same = f"largest difference {gap:.0e} of the largest value"
    return Row(work, *names, plain, ours, same, clock="wall", note=note, **more)


def one_worker(quick: bool) -> Row:
    """Measure the overhead of Ray."""
    names = ("local engine, one processor", "Ray, one worker, one processor")
    return _compare(quick, names, (_local(1), _ray(1)), (1, 1))


def two_workers(quick: bool) -> Row:
    """Measure the gain of a second worker."""
    names = ("Ray, one worker, one processor", "Ray, two of both")
    return _compare(quick, names, (_ray(1), _ray(2)), (1, 2), goal=1.8)


def one_machine(quick: bool) -> Row:
    """Compare processes with threads on the same two processors."""
    names = ("local engine, two threads and processors", "Ray, two workers, two processors")
    return _compare(quick, names, (_local(2), _ray(2)), (1, 2))


def per_batch(quick: bool) -> Row:
    """Measure the overhead per batch, with no work in it."""
    count = 100 if quick else 1000
    batches: list[Batch] = [[(f"{n}", f"/{n}") for n in range(BATCH)]]
    with _local(1) as run:
        plain, _ = _time(run, partial(IdleWorker), batches, 1, count, BATCH)
    with _ray(1) as run:
        ours, _ = _time(run, partial(IdleWorker), batches, 1, count, BATCH)
    note = f"Ray adds {(ours - plain) / count * 1e3:.2f} ms to a batch of {BATCH} images"
    work = f"{count} batches without work"
    return Row(work, "local engine", "Ray, one worker", plain, ours, "not compared", clock="wall", note=note)


COMPARISONS = (one_worker, two_workers, one_machine, per_batch)


def rows(quick: bool) -> Iterator[Row]:
    """Yield all comparisons; `quick` uses the descriptor instead of a ResNet-50."""
    for comparison in COMPARISONS:
        yield comparison(quick)


def main(quick: Annotated[bool, typer.Option(help="Small sizes")] = False) -> None:
    """Print the rows."""
    for row in rows(quick):
        typer.echo(row)


if __name__ == "__main__":
    typer.run(main)
