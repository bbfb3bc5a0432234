"""Seconds and bytes of the instant head on this machine."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.instant.pool import LabelledPool
from infers.instant.cache import FeatureCache
from infers.instant.features import Features, plane_features
from infers.instant.head import Head
from infers.instant.judging import judge_pool, segment
from trainers.instant.fit import fit

SPEED = "speed.json"
POOLS = (1_000, 10_000)
_BATCH = 16  # images per file of coarse features, as a refresh writes them
Row = tuple[str, str]


def measure_speed(pool: LabelledPool, work: Path) -> list[Row]:
    """Return (what, figure) for fits, the prediction of one image, and whole pools of coarse features."""
    cases = pool.cases
    rows = []
    for count in (1, 4, 16):
        items = [case.labelled for case in cases[:count]]
        fitted = _seconds(partial(fit, items, "key", pool.classes, validate=False))
        rows.append((f"fit with {count} labels", f"{fitted:.2f} s"))
        validated = _seconds(partial(fit, items, "key", pool.classes))
        rows.append((f"fit and cross-validate with {count} labels", f"{validated:.2f} s"))
    head, case = fit([c.labelled for c in cases[:16]], "key", pool.classes), cases[0]

    def predict(features: Features) -> Any:
        return case.planes.label_of(segment(head, features), pool.classes)

    size = " x ".join(map(str, case.planes.shape))
    cached = case.labelled.features
    rows.append((f"predict {size}, features cached", f"{_seconds(lambda: predict(cached)):.3f} s"))
    whole = _seconds(lambda: predict(plane_features(pool.encoder, pool.reduction, case.planes)))
    rows.append((f"predict {size}, features computed", f"{whole:.2f} s"))
    rows.append(("bytes of a head", f"{len(head.to_bytes()):,}"))
    rows.append(("fine features of an image", f"{cached.grids.nbytes:,} bytes"))
    with tempfile.TemporaryDirectory(dir=work) as folder:
        for count in POOLS:
            rows += _pool_rows(head, [c.labelled.features.coarse() for c in cases], count, Path(folder))
    return [*rows, ("load of the machine", f"{os.getloadavg()[0]:.1f}")]


def _pool_rows(head: Head, coarse: list[Features], count: int, folder: Path) -> list[Row]:
    """Measure a pool that repeats the data set's images."""
    cache = FeatureCache(folder / str(count), "speed", max_bytes=1 << 40)
    images = [(f"image {i}", "1-1", coarse[i % len(coarse)]) for i in range(count)]
    (cache.folder / "coarse").mkdir(parents=True)
    for start in range(0, count, _BATCH):
        cache.add_coarse(images[start : start + _BATCH])
    marks = {image: mark for image, mark, _ in images}
    seconds = _seconds(lambda: list(judge_pool(head, cache.coarse(marks))))
    return [
        (f"judge {count:,} images, read from the disk", f"{seconds:.2f} s"),
        (f"coarse features of {count:,} images", f"{cache.bytes_used() / 1e6:,.0f} MB"),
    ]


def _seconds(work: Callable[[], Any]) -> float:
    """Return the median of three runs after a first one, in seconds of one core."""
    work()
    times = []
    for _ in range(3):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return float(np.median(times))
