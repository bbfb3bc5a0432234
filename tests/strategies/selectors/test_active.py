"""active, entropy and diversity against hand-computed cases and the slow reference."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.selectors import active, diversity, entropy, foreground_active

PLACES = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [10.0, 0.0]])


def test_hand_computed() -> None:
    # diameter 10, entropy 0 .. 1. After row 1: scores .3 * D + .7 * H
    chosen = active(PLACES, [0.5, 1.0, 0.8, 0.0], 4, alpha=0.3)
    # row 0: .03 + .35, row 2: .09 + .56, row 3: .27 + 0
    # then row 0: .38, row 3: .18 + 0
    assert chosen.picks.tolist() == [1, 2, 0, 3]
    assert chosen.evidence["role"].tolist() == ["most_uncertain", "combined", "combined", "combined"]
    assert chosen.evidence["score"].tolist() == pytest.approx([0.7, 0.65, 0.38, 0.18], abs=1e-6)
    assert chosen.evidence["distance"].tolist() == pytest.approx([0, 0.3, 0.1, 0.6], abs=1e-6)
    assert chosen.evidence["entropy"].tolist() == pytest.approx([1, 0.8, 0.5, 0], abs=1e-6)
    assert chosen.evidence["raw_entropy"].tolist() == [1.0, 0.8, 0.5, 0.0]


def test_epsilon_stands_in_both_denominators() -> None:
    points = np.array([[0.0, 0.0], [3e-8, 0.0]])
    chosen = active(points, [0.0, 1e-8], 2, alpha=0.5)
    assert chosen.picks.tolist() == [1, 0]
    assert chosen.evidence["entropy"].tolist() == pytest.approx([0.5, 0])
    assert chosen.evidence["distance"].tolist() == pytest.approx([0, 0.75])


def test_distance_is_not_clipped() -> None:
    # the pool is 1 wide, and 9 away from the labelled row
    chosen = active([[0.0], [9.0], [10.0]], [0, 0, 0], 1, alpha=1.0, labelled=[0])
    assert chosen.evidence["distance"].tolist() == pytest.approx([9.0])


def test_first_pick_is_most_uncertain_whatever_alpha() -> None:
    values = [0.1, 0.3, 0.2, 0.0]
    assert active(PLACES, values, 1, alpha=1.0, labelled=[0]).picks.tolist() == [1]
    assert diversity(PLACES, values, 3).picks.tolist() == [1, 3, 2]


def test_first_pick_compares_the_entropy_itself() -> None:
    # min-max rounds the first two to the same number
    values = [0.1, np.nextafter(0.1, 1.0), -1.0, 0.0]
    assert active(PLACES, values, 1).picks.tolist() == [1]


def test_entropy_alone_is_the_order_of_entropy() -> None:
    values = np.array([0.2, 0.9, 0.9, 0.4])
    assert entropy(PLACES, values, 4).picks.tolist() == [1, 2, 3, 0]


def test_constant_entropy_and_identical_points() -> None:
    chosen = active(np.ones((4, 2)), np.full(4, 0.3), 4)
    assert chosen.picks.tolist() == [0, 1, 2, 3]
    assert chosen.evidence["score"].tolist() == [0, 0, 0, 0]
    assert active(PLACES, np.full(4, 0.3), 4).picks.tolist() == [0, 3, 2, 1]


def test_labelled_rows_may_have_no_entropy() -> None:
    values = [np.nan, 0.5, np.inf, 0.1]
    assert active(PLACES, values, 5, labelled=[2, 0]).picks.tolist() == [1, 3]


def test_pool_of_the_normalisation_is_all_unlabelled_rows() -> None:
    values = [0.0, 0.5, 1.0, 0.2]
    chosen = active(PLACES, values, 1, candidates=[1, 3])
    assert chosen.picks.tolist() == [1]
    assert chosen.evidence["entropy"].tolist() == pytest.approx([0.5])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_unusable_entropy_names_row_and_value(value: float) -> None:
    with pytest.raises(ValueError, match=f"entropy of row 2 is {value}"):
        active(PLACES, [0, 0, value, 0], 1, labelled=[0])
    with pytest.raises(ValueError, match="entropy of row 2"):
        active(PLACES, [0, 0, value, 0], 1, candidates=[1])  # not a candidate, but in the pool


@pytest.mark.parametrize("values", [[0, 0, 0], [[0, 0, 0, 0]], 0.5])
def test_entropy_needs_one_value_per_row(values: Any) -> None:
    with pytest.raises(ValueError, match="one value per row"):
        active(PLACES, values, 1)


@pytest.mark.parametrize("alpha", [-0.01, 1.01, np.nan, np.inf])
def test_alpha_out_of_range_is_named(alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha must lie in .* not {alpha}"):
        active(PLACES, [0, 0, 0, 0], 1, alpha=alpha)


@pytest.mark.parametrize("kind", ["grid", "normal", "line"])
def test_reference_on_random_pools(reference: ModuleType, kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    for _ in range(200):
        count = int(rng.integers(1, 20))
        points = rng.normal(size=(count, 2)) if kind == "normal" else rng.integers(0, 4, (count, 2)) * 1.0
        if kind == "line":
            points[:, 1] = points[:, 0]
        values = rng.integers(0, 4, count) / 4 if rng.random() < 0.6 else rng.random(count)
        labelled = rng.choice(count, size=int(rng.integers(0, count)), replace=False).tolist()
        candidates = None if rng.random() < 0.5 else rng.choice(count, size=(count + 1) // 2).tolist()
        alpha = float(rng.choice([0.0, 0.3, 0.5, 1.0]))
        budget = int(rng.integers(0, count + 2))
        wanted = reference.active(points.tolist(), values.tolist(), budget, alpha, labelled, candidates)
        chosen = active(points, values, budget, alpha, labelled, candidates=candidates)
        assert chosen.picks.tolist() == [row for row, _ in wanted]
        assert chosen.evidence["score"].tolist() == pytest.approx([score for _, score in wanted], abs=1e-12)
        for select, weight in ((entropy, 0.0), (diversity, 1.0)):
            same = active(points, values, budget, weight, labelled, candidates=candidates)
            chosen = select(points, values, budget, labelled, candidates=candidates)
            assert chosen.picks.tolist() == same.picks.tolist()


@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_a_larger_budget_only_adds_picks(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    points, values = rng.integers(0, 5, size=(20, 2)) * 1.0, rng.random(20)
    more = active(points, values, 8, alpha, [0, 1])
    fewer = active(points, values, 4, alpha, [0, 1])
    assert more.picks[:4].tolist() == fewer.picks.tolist()
    assert more.evidence["score"][:4].tolist() == fewer.evidence["score"].tolist()


@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1), before=st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_a_round_goes_on_where_it_stopped(seed: int, alpha: float, before: int) -> None:
    rng = np.random.default_rng(seed)
    points, values = rng.integers(0, 5, size=(20, 2)) * 1.0, rng.random(20)
    whole = active(points, values, 8, alpha, [0, 1])
    rest = active(points, values, 8 - before, alpha, [0, 1], picked=whole.picks[:before])
    assert rest.picks.tolist() == whole.picks[before:].tolist()
    for name, column in rest.evidence.items():
        assert column.tolist() == whole.evidence[name][before:].tolist()


@pytest.mark.parametrize("row", [-1, 4])
def test_picked_rows_must_exist(row: int) -> None:
    with pytest.raises(ValueError, match=f"picked names row {row}"):
        active(PLACES, [0, 0, 0, 0], 1, picked=[row])


@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_row_order_does_not_matter_without_ties(seed: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    points, values, order = rng.normal(size=(25, 2)), rng.random(25), rng.permutation(25)
    moved = active(points[order], values[order], 6, alpha, np.flatnonzero(order < 3)).picks
    assert order[moved].tolist() == active(points, values, 6, alpha, [0, 1, 2]).picks.tolist()


# foreground_active -----------------------------------------------------------------------------------------


def test_entropy_counts_as_far_as_there_is_foreground() -> None:
    # products .02, .0, .32, .1; normalised .0625, 0, 1, .3125
    unsure, shown = [0.2, 1.0, 0.8, 0.5], [0.1, 0.0, 0.4, 0.2]
    chosen = foreground_active(PLACES, 4, uncertainty=unsure, foreground=shown, alpha=0.3)
    # after row 2: row 0: .12 + .04375, row 1: .09 + 0, row 3: .18 + .21875; then row 0 as before
    assert chosen.picks.tolist() == [2, 3, 0, 1]
    assert chosen.evidence["score"].tolist() == pytest.approx([0.7, 0.39875, 0.16375, 0.03], abs=1e-6)
    assert chosen.evidence["raw_entropy"].tolist() == [0.8, 0.5, 0.2, 1.0]
    assert chosen.evidence["foreground"].tolist() == [0.4, 0.2, 0.1, 0.0]


def test_with_foreground_alike_it_is_active() -> None:
    unsure = np.random.default_rng(3).random(20)
    points = np.random.default_rng(4).normal(size=(20, 2))
    chosen = foreground_active(
        points, 9, uncertainty=unsure, foreground=np.full(20, 0.25), labelled=[2, 5], alpha=0.3
    )
    assert chosen.picks.tolist() == active(points, unsure, 9, 0.3, [2, 5]).picks.tolist()


@pytest.mark.parametrize(
    ("unsure", "shown", "said"),
    [([0.1, -0.2], [0.1, 0.2], "uncertainty of row 1"), ([0.1, 0.2], [1.5, 0.2], "foreground of row 0")],
)
def test_what_cannot_be_a_share_or_an_entropy_is_refused(unsure: Any, shown: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        foreground_active([[0.0], [1.0]], 1, uncertainty=unsure, foreground=shown)
    # of labelled rows it is not looked at
    row = int(said[-1])
    foreground_active([[0.0], [1.0]], 1, uncertainty=unsure, foreground=shown, labelled=[row])
