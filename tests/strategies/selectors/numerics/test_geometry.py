"""medoid, allocate, diameter, mean_entropy: building blocks of the selectors."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from strategies.selectors import allocate, diameter, mean_entropy, medoid


def test_medoid_by_hand() -> None:
    points = np.array([[0.0, 0.0], [9.0, 9.0], [1.0, 0.0], [5.0, 0.0], [2.0, 0.0]])
    assert medoid(points, [0, 2, 3, 4]) == 2  # rows 2 and 4 tie: 0+1+4+1 and 2+1+3
    assert medoid(points, [4, 3, 2, 0, 0]) == 2
    assert medoid(points, [3]) == 3


def test_medoid_ties_but_for_rounding() -> None:
    # places 0 1 3 7 times 0.1 on a slanted line: both inner points have the same sum in exact arithmetic
    for scale in (0.1, 1 / 3, np.sqrt(2), 1e-5, 1e5):
        points = np.array([[0.0, 0.0], [7.0, 7.0], [3.0, 3.0], [1.0, 1.0]]) * scale
        assert medoid(points, range(4)) == 2


@pytest.mark.parametrize("columns", [1, 2, 3, 40])
def test_medoid_against_all_sums(reference: ModuleType, columns: int) -> None:
    rng = np.random.default_rng(columns)
    for trial in range(60):
        count = int(rng.integers(1, 40))
        points = (
            rng.integers(0, 4, size=(count, columns)) * 1.0
            if trial % 2
            else rng.normal(size=(count, columns))
        )
        if trial % 5 == 0:
            points += 1e6
        members = np.unique(rng.integers(0, count, size=count)).tolist()
        assert medoid(points, members) == reference.medoid(points.tolist(), members)


@pytest.mark.parametrize(("columns", "twins"), [(2, 1), (2, 30), (12, 1), (12, 30), (300, 30)])
@pytest.mark.parametrize("apart", [1e-13, 1e-9, 1e-6])
def test_medoid_next_to_its_twins(columns: int, twins: int, apart: float) -> None:
    """Nearly identical rows: a careless lower bound would rule out the true medoid."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = rng.normal(size=(twins + 8, columns)) * 100
        points[1 : twins + 1] = points[0] + rng.normal(size=(twins, columns)) * apart
        sums = [np.sqrt(((points - row) ** 2).sum(axis=1)).sum() for row in points]
        assert sums[medoid(points, range(len(points)))] <= min(sums) * (1 + 2e-12)


@pytest.mark.parametrize(("members", "message"), [([], "no medoid"), ([3], "row 3"), ([-1], "row -1")])
def test_medoid_refuses(members: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        medoid(np.zeros((3, 2)), members)


@pytest.mark.parametrize(
    ("sizes", "extra", "wanted"),
    [
        ([5, 3], 3, [2, 1]),
        ([10, 10, 10], 4, [2, 1, 1]),  # 1.33 each, one more to the lowest
        ([10, 10, 10], 5, [1, 2, 2]),  # 1.67 each, rounded to 2, one back from the lowest
        ([2, 2, 2, 2], 2, [1, 1, 0, 0]),  # 0.5 rounds to 0
        ([3, 1, 1], 2, [2, 0, 0]),
        ([9, 1, 1, 1], 7, [7, 0, 0, 0]),  # singletons have nothing to give
        ([6, 6], 0, [0, 0]),
        ([6], 5, [5]),
        ([], 0, []),
    ],
)
def test_allocate_by_hand(sizes: list[int], extra: int, wanted: list[int]) -> None:
    assert allocate(sizes, extra).tolist() == wanted


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8), data=st.data())
@settings(max_examples=200, deadline=None)
def test_allocate_against_fractions(reference: ModuleType, sizes: list[int], data: st.DataObject) -> None:
    extra = data.draw(st.integers(0, sum(sizes) - len(sizes)))
    given_out = allocate(sizes, extra)
    assert given_out.sum() == extra
    assert ((given_out >= 0) & (given_out < np.array(sizes))).all()
    assert given_out.tolist() == reference.allocate(sizes, extra)


@pytest.mark.parametrize(
    ("sizes", "extra", "message"),
    [([2, 2], 3, "2 members are left"), ([2, 2], -1, "negative"), ([2, 0], 1, "sizes"), ([1.5], 0, "sizes")],
)
def test_allocate_refuses(sizes: list[float], extra: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allocate(sizes, extra)


@given(
    cells=st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=25),
    scale=st.sampled_from([1.0, 0.1, 1e-7, 1e7]),
    kind=st.sampled_from(["plane", "line", "column", "near line"]),
)
@settings(max_examples=200, deadline=None)
def test_diameter_against_all_pairs(cells: list[tuple[int, int]], scale: float, kind: str) -> None:
    points = np.array(cells, dtype=float) * scale
    if kind == "line":
        points[:, 1] = points[:, 0] * 0.3
    elif kind == "column":
        points[:, 1] = 5.0
    elif kind == "near line":
        points[:, 1] *= 1e-13
    assert diameter(points) == pytest.approx(pdist(points).max(), rel=1e-14, abs=0)


@pytest.mark.parametrize("columns", [1, 2, 3, 30])
def test_diameter_in_any_dimension(columns: int) -> None:
    points = np.random.default_rng(columns).normal(size=(300, columns))
    assert diameter(points) == pytest.approx(pdist(points).max(), rel=1e-14)


def test_diameter_of_equal_distances_but_for_rounding() -> None:
    """Opposite points on a sphere: products of rows cannot tell which two are farthest apart."""
    for seed in range(20):
        half = np.random.default_rng(seed).normal(size=(60, 12))
        half /= np.linalg.norm(half, axis=1)[:, None]
        points = np.concatenate([half, -half])
        assert diameter(points) == pdist(points).max()


@pytest.mark.parametrize("points", [[], [[1.0, 2.0]], np.ones((7, 2)), np.ones((7, 3))])
def test_diameter_of_nothing_is_zero(points: Any) -> None:
    assert diameter(points) == 0.0


def test_diameter_of_many_copies_of_two_points() -> None:
    assert diameter(np.repeat([[0.0, 0.0], [3.0, 4.0]], 50_000, axis=0)) == 5.0


def test_mean_entropy_by_hand() -> None:
    assert mean_entropy(np.full((4, 3, 3), 0.25)) == pytest.approx(np.log(4), abs=1e-6)
    assert mean_entropy(np.full((1, 3, 3), 0.5)) == pytest.approx(np.log(2), abs=1e-6)
    assert mean_entropy([[1.0, 0.5], [0.0, 0.5]]) == pytest.approx(np.log(2) / 2, abs=1e-6)
    assert mean_entropy([[1.0], [0.0]]) == -np.log(1 + 1e-8)  # eps stands inside the logarithm


def test_mean_entropy_of_one_channel_is_that_of_two() -> None:
    foreground = np.random.default_rng(0).random((1, 5, 6, 7))
    assert mean_entropy(foreground) == pytest.approx(
        mean_entropy(np.concatenate([1 - foreground, foreground]))
    )
    assert mean_entropy(foreground.astype(np.float32)) == pytest.approx(mean_entropy(foreground), rel=1e-5)


@pytest.mark.parametrize("bad", [[[np.nan], [0.5]], [[1.5], [0.2]], [[-3.0], [0.2]], np.zeros((2, 0)), 0.5])
def test_mean_entropy_refuses(bad: Any) -> None:
    with pytest.raises(ValueError, match="probabilities must"):
        mean_entropy(bad)


def test_mean_entropy_forgives_reduced_precision() -> None:
    assert np.isfinite(mean_entropy([[1.0005, -0.0005], [-0.0005, 1.0005]]))
