"""cold_start against hand-computed cases and the slow reference."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.selectors import cold_start, diameter


def line(*places: float) -> np.ndarray:
    return np.array([[place, 0.0] for place in places])


def test_hand_computed() -> None:
    # cluster 7: places 0 1 2 3 10 (medoid 2), cluster 4: places 20 21 24 (medoid 21)
    points = line(0, 20, 1, 21, 2, 24, 3, 10)
    labels = [7, 4, 7, 4, 7, 4, 7, 7]
    # R = 3: 3 * 5 / 8 = 1.9 -> 2 and 3 * 3 / 8 = 1.1 -> 1
    chosen = cold_start(points, labels, 5)
    assert chosen.picks.tolist() == [4, 3, 7, 5, 0]
    assert chosen.evidence["role"].tolist() == ["medoid"] * 2 + ["farthest"] * 3
    assert chosen.evidence["cluster"].tolist() == [7, 4, 7, 4, 7]
    assert chosen.evidence["distance"].tolist() == [0, 0, 8, 3, 2]
    assert chosen.evidence["score"].tolist() == pytest.approx([5 / 8, 3 / 8, 8 / 24, 3 / 24, 2 / 24])


def test_ties_go_to_the_lowest_label_then_the_lowest_row() -> None:
    # two clusters of equal size and shape; in each, both ends are equally far
    points = line(10, 0, 12, 2, 11, 1)
    chosen = cold_start(points, [5, 2, 5, 2, 5, 2], 6)
    assert chosen.picks.tolist() == [5, 4, 1, 3, 0, 2]


def test_more_clusters_than_budget_gives_the_largest() -> None:
    labels = [0, 1, 1, 2, 2, 3, 3, 3]
    chosen = cold_start(np.arange(16.0).reshape(8, 2), labels, 2)
    assert chosen.evidence["cluster"].tolist() == [3, 1]
    assert chosen.evidence["role"].tolist() == ["medoid", "medoid"]
    assert chosen.picks.tolist() == [6, 1]


def test_other_rows_take_no_part() -> None:
    points, labels = np.random.default_rng(3).normal(size=(40, 2)), np.arange(40) % 4
    rows = np.arange(3, 40, 2)
    chosen = cold_start(points, labels, 9, candidates=rows)
    alone = cold_start(points[rows], labels[rows], 9)
    assert chosen.picks.tolist() == rows[alone.picks].tolist()
    assert all((chosen.evidence[name] == alone.evidence[name]).all() for name in alone.evidence)


def test_score_falls_within_each_role() -> None:
    points = np.random.default_rng(4).normal(size=(60, 2))
    evidence = cold_start(points, np.arange(60) // 25, 20).evidence
    for role in ("medoid", "farthest"):
        assert (np.diff(evidence["score"][evidence["role"] == role]) <= 0).all()
    assert evidence["score"].max() <= 1 and evidence["distance"].max() <= diameter(points)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2, 3], [[0, 1, 2]], [0.0, 1.0, 2.0], [True, False, True]])
def test_bad_labels(labels: Any) -> None:
    with pytest.raises(ValueError, match="labels must"):
        cold_start(line(0, 1, 2), labels, 2)


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("kind", ["grid", "normal"])
def test_reference_on_random_pools(reference: ModuleType, kind: str, columns: int) -> None:
    rng = np.random.default_rng([columns, len(kind)])
    for _ in range(120):
        count, clusters = int(rng.integers(1, 22)), int(rng.integers(1, 7))
        grid = rng.integers(0, 4, size=(count, columns)).astype(float)
        points = grid if kind == "grid" else rng.normal(size=(count, columns))
        labels = rng.integers(-2, clusters, size=count)
        budget = int(rng.integers(0, count + 3))
        wanted = reference.cold_start(points.tolist(), labels.tolist(), budget)
        chosen = cold_start(points, labels, budget)
        assert chosen.picks.tolist() == [row for row, _, _ in wanted]
        assert chosen.evidence["role"].tolist() == [role for _, role, _ in wanted]
        assert chosen.evidence["distance"].tolist() == pytest.approx([reach for _, _, reach in wanted])


@given(seed=st.integers(0, 10_000), count=st.integers(2, 30), budget=st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_row_order_does_not_matter_without_ties(seed: int, count: int, budget: int) -> None:
    rng = np.random.default_rng(seed)
    points, order = rng.normal(size=(count, 2)), rng.permutation(count)
    labels = np.repeat([0, 1], [count // 2, count - count // 2])
    if count < 3 or min(np.bincount(labels)) < 3:
        labels = np.zeros(count, dtype=int)  # two members tie for the medoid
        if count == 2:
            return
    chosen = cold_start(points, labels, budget).picks
    moved = cold_start(points[order], labels[order], budget).picks
    assert order[moved].tolist() == chosen.tolist()
