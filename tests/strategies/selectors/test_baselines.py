"""random and farthest_first."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from strategies.selectors import farthest_first, random
from strategies.selectors.registry import METHODS


def test_random_depends_on_the_seed_only() -> None:
    points = np.zeros((50, 2))
    assert random(points, 10, seed=1).picks.tolist() == random(points + 1, 10, seed=1).picks.tolist()
    assert random(points, 10, seed=1).picks.tolist() != random(points, 10, seed=2).picks.tolist()


def test_random_is_uniform() -> None:
    counts = np.zeros(6)
    for seed in range(3000):
        counts[random(np.zeros((8, 2)), 2, labelled=[6, 7], seed=seed).picks] += 1
    assert np.abs(counts - 1000).max() < 130  # 5 standard deviations


def test_random_is_the_same_in_another_process() -> None:
    code = (
        "import numpy as np; from strategies.selectors import random;"
        "print(random(np.zeros((100, 2)), 20, labelled=[5], seed=42).picks.tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(random(np.zeros((100, 2)), 20, labelled=[5], seed=42).picks.tolist())


def test_farthest_first_starts_nearest_to_the_mean() -> None:
    chosen = farthest_first([[0.0], [1.0], [4.0], [11.0]], 4)  # mean 4
    assert chosen.picks.tolist() == [2, 3, 0, 1]
    assert chosen.evidence["distance"].tolist() == [0, 7, 4, 1]
    assert chosen.evidence["role"].tolist() == ["central"] + ["farthest"] * 3
    known = farthest_first([[0.0], [1.0], [4.0], [11.0]], 2, labelled=[0])
    assert known.evidence["role"].tolist() == ["farthest"] * 2


@pytest.mark.parametrize("name", ["farthest_first", "clfps"])
def test_the_first_of_all_is_not_said_to_be_far_away(name: str) -> None:
    chosen = METHODS[name].select([[0.0, 1.0], [1.0, 0.0], [4.0, 4.0]], 2)
    first, second = (
        METHODS[name].explain({key: values[i].item() for key, values in chosen.evidence.items()}, {})
        for i in range(2)
    )
    assert first.startswith("It is nearest to the mean") and "no other is that far" in second


def test_farthest_first_start_ties_go_to_the_lowest_row() -> None:
    # the mean is (8/3, 4/3): rows 0 and 1 are equally near, but rounding makes row 1 nearer
    assert farthest_first([[3.0, 3.0], [1.0, 1.0], [4.0, 0.0]], 1).picks.tolist() == [0]
    assert farthest_first([[1.0, 1.0], [3.0, 3.0], [4.0, 0.0]], 1).picks.tolist() == [0]


def test_farthest_first_starts_at_a_candidate() -> None:
    chosen = farthest_first([[0.0], [1.0], [4.0], [11.0]], 2, candidates=[0, 1])
    assert chosen.picks.tolist() == [1, 0]


def test_farthest_first_from_labelled_rows(reference: ModuleType) -> None:
    rng = np.random.default_rng(5)
    for _ in range(150):
        count = int(rng.integers(2, 18))
        points = rng.integers(0, 4, size=(count, 2)) * 1.0
        labelled = rng.choice(count, size=int(rng.integers(1, count)), replace=False).tolist()
        wanted = reference.farthest_first(points.tolist(), 6, labelled)
        assert farthest_first(points, 6, labelled=labelled).picks.tolist() == wanted
