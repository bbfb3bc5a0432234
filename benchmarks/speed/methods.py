"""Growth of the time of each selection method with the number of images; a part of `benchmarks.speed`."""

from __future__ import annotations

import time

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.speed.million import clustered_map
from strategies.selectors.registry import METHODS, Method

PICKS, FEATURES = 20, 64
TITLE = f"Growth of the methods: {PICKS} picks of {FEATURES} features, or of a map"
_LABELLED, _SEED, _WARM = 4, 42, 600


def sizes(quick: bool) -> list[int]:
    """Return the numbers of images to measure."""
    return [300, 1_000] if quick else [1_000, 3_000, 10_000, 20_000, 100_000]


def measure(count: int) -> dict[str, float]:
    """Return the processor seconds of one plan by each method that plans, on one thread."""
    methods = {name: method for name, method in METHODS.items() if method.needs}
    with threadpool_limits(limits=1):
        for method in methods.values():  # import and compile
            _plan(method, _WARM)
        return {f"`{name}`": _plan(method, count) for name, method in methods.items()}


def _plan(method: Method, count: int) -> float:
    rng = np.random.default_rng(_SEED)
    points = clustered_map(count) if "map" in method.needs else _features(rng, count)
    values = {
        "uncertainty": rng.uniform(0.1, 0.6, count),
        "class_entropy": rng.uniform(0.1, 0.6, (count, 2)),
        "foreground": np.where(rng.random(count) < 0.3, 0.0, rng.uniform(0.0, 0.3, count)),
    }
    needed = {name: values[name] for name in method.values}
    started = time.process_time()
    method.select(points, PICKS, labelled=range(_LABELLED), seed=_SEED, **needed)
    return time.process_time() - started


def _features(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return features (count, 64) in eight overlapping clusters."""
    centres = 2.0 * rng.normal(size=(8, FEATURES))
    return np.asarray(rng.normal(size=(count, FEATURES)) + centres[rng.integers(0, 8, count)])
