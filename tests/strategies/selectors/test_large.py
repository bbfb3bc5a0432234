"""A pool of 100,000 images, without any matrix of all pairs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from strategies.selectors import active, cold_start, farthest_first

COUNT = 100_000
BOUND = 200 * 2**20  # bytes; a column of distances is 0.8 MB, all pairs would be 80 GB


@pytest.fixture
def points() -> Iterator[np.ndarray]:
    """Return a map of COUNT points; memory is measured while it is in use."""
    array = np.random.default_rng(1).normal(size=(COUNT, 2))
    tracemalloc.start()
    yield array
    tracemalloc.stop()


def test_active(points: np.ndarray) -> None:
    chosen = active(points, np.random.default_rng(2).random(COUNT), 100, labelled=range(50))
    assert len(set(chosen.picks.tolist())) == 100
    assert tracemalloc.get_traced_memory()[1] < BOUND


def test_cold_start(points: np.ndarray) -> None:
    labels = (points[:, 0] > 0) + 2 * (points[:, 1] > 1).astype(int)
    chosen = cold_start(points, labels, 100)
    assert len(set(chosen.picks.tolist())) == 100
    assert tracemalloc.get_traced_memory()[1] < BOUND


def test_cold_start_of_identical_points(points: np.ndarray) -> None:
    chosen = cold_start(np.zeros_like(points), np.zeros(COUNT, dtype=int), 5)
    assert chosen.picks.tolist() == [0, 1, 2, 3, 4]
    assert tracemalloc.get_traced_memory()[1] < BOUND


def test_farthest_first_of_points_on_a_line(points: np.ndarray) -> None:
    points[:, 1] = 2 * points[:, 0]
    assert len(farthest_first(points, 20).picks) == 20
    assert tracemalloc.get_traced_memory()[1] < BOUND
