"""Groups: no method gives a second pick from one while another has given none."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.selectors import Selection, active, cold_start, farthest_first, random
from strategies.selectors.registry import METHODS
from tests.strategies.selectors.drawn import for_drawn

every_method = pytest.mark.parametrize("name", sorted(METHODS))


def line(*places: float) -> np.ndarray:
    return np.array([[place, 0.0] for place in places])


def run(name: str, points: np.ndarray, budget: int, **more: Any) -> Selection:
    rng = np.random.default_rng(len(points))
    values = {
        "uncertainty": rng.random(len(points)),
        "class_entropy": rng.random((len(points), 2)),
        "foreground": np.where(rng.random(len(points)) < 0.3, 0.0, 0.4),
    }
    return METHODS[name].select(points, budget, **{key: values[key] for key in METHODS[name].values}, **more)


def check_turns(picks: list[int], groups: list[Any], candidates: set[int], before: list[int]) -> None:
    """Check that picks come from groups with the fewest so far, among those with candidates left."""
    given = [groups[row] for row in before]
    left = set(candidates)
    for row in picks:
        assert given.count(groups[row]) == min(given.count(groups[other]) for other in left)
        given.append(groups[row])
        left.remove(row)


@st.composite
def calls(draw: st.DrawFn) -> tuple[np.ndarray, int, dict[str, Any]]:
    count = draw(st.integers(1, 14))
    cells = draw(st.lists(st.integers(-3, 3), min_size=count * 2, max_size=count * 2))
    groups = draw(st.lists(st.integers(-1, draw(st.integers(0, 8))), min_size=count, max_size=count))
    rows = st.lists(st.integers(0, count - 1), max_size=count)
    more = {"labelled": draw(rows), "candidates": draw(st.none() | rows), "groups": groups}
    return np.array(cells, dtype=float).reshape(count, 2), draw(st.integers(0, 16)), more


@every_method
def test_groups_take_turns(name: str, long: bool) -> None:
    for_drawn(name, long, 25, calls(), lambda call: check_groups(name, *call))


def check_groups(name: str, points: np.ndarray, budget: int, more: dict[str, Any]) -> None:
    groups, wanted = more["groups"], more["candidates"]
    candidates = set(range(len(points)) if wanted is None else wanted) - set(more["labelled"])
    chosen = run(name, points, budget, **more)
    picks = chosen.picks.tolist()
    assert len(set(picks)) == len(picks) == min(budget, len(candidates))
    check_turns(picks, groups, candidates, [])
    assert all(np.isfinite(v).all() for v in chosen.evidence.values() if v.dtype.kind != "U")
    renamed = [f"{(7 * group) % 11}th patient" for group in groups]
    assert run(name, points, budget, **(more | {"groups": renamed})).picks.tolist() == picks


@every_method
def test_every_row_a_group_of_its_own_is_no_groups(name: str, long: bool) -> None:
    for_drawn(name, long, 10, calls(), lambda call: check_own_groups(name, *call))


def check_own_groups(name: str, points: np.ndarray, budget: int, more: dict[str, Any]) -> None:
    plain = run(name, points, budget, **(more | {"groups": None}))
    alone = run(name, points, budget, **(more | {"groups": np.arange(len(points))[::-1]}))
    assert alone.picks.tolist() == plain.picks.tolist()
    assert {k: v.tolist() for k, v in alone.evidence.items()} == {
        k: v.tolist() for k, v in plain.evidence.items()
    }


@every_method
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2, 3], r"groups must have one id per row: shape \(4,\), not \(3,\)"),
        ([[1], [2], [3], [4]], "groups must have one id per row"),
        ([0.0, 1.0, np.nan, 3.0], "groups must be integers or strings, not float64"),
        ([True, False, True, True], "groups must be integers or strings, not bool"),
        (["a", "b", None, "a"], "group of row 2 is None"),
    ],
)
def test_bad_groups(name: str, groups: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(name, line(0, 1, 2, 3), 2, groups=groups)


def test_active_hand_computed() -> None:
    points, entropy = line(0, 1, 2, 10), [0.9, 0.8, 0.1, 0.2]
    assert active(points, entropy, 4, 0.0, groups=list("aabb")).picks.tolist() == [0, 3, 1, 2]
    # 3 is the farthest from 0, but of its group; 2 is next, then the second turn
    assert active(points, entropy, 4, 1.0, groups=list("abba")).picks.tolist() == [0, 2, 3, 1]


def test_active_counts_earlier_picks_but_not_labels() -> None:
    points, entropy, groups = line(0, 1, 2, 10, 5), [0.9, 0.8, 0.1, 0.2, 0.0], list("aabba")
    assert active(points, entropy, 4, 0.0, picked=[4], groups=groups).picks.tolist() == [3, 0, 2, 1]
    assert active(points, entropy, 4, 0.0, labelled=[4], groups=groups).picks.tolist() == [0, 3, 1, 2]


@given(call=calls(), data=st.data())
@settings(max_examples=50, deadline=None)
def test_active_goes_on_from_earlier_picks(call: tuple[np.ndarray, int, dict[str, Any]], data: Any) -> None:
    points, budget, more = call
    rows = range(len(points))
    earlier = data.draw(st.lists(st.sampled_from(rows), unique=True))
    groups, labelled = more["groups"], [row for row in more["labelled"] if row not in earlier]
    candidates = set(rows) - set(labelled) - set(earlier)
    chosen = active(points, np.cos(rows), budget, 0.3, labelled, picked=earlier, groups=groups)
    assert len(chosen.picks) == min(budget, len(candidates))
    check_turns(chosen.picks.tolist(), groups, candidates, earlier)


@pytest.mark.parametrize(
    ("groups", "budget", "picks", "medoids"),
    [
        # without groups 4 3 7 5 0; places 0 1 2 3 10 are rows 0 2 4 6 7, places 20 21 24 are rows 1 3 5
        ("bcdeafgh", 5, [4, 3, 7, 5, 0], 2),
        # 7 shares its group with the medoid 4: cluster 7 gives 0, at 2, and 2, at 1, after 5, at 3
        ("bcdeafga", 5, [4, 3, 5, 0, 2], 2),
        # the medoid 3 shares its group with 4: of 1 and 5, 1 is nearer to the members of its cluster
        ("bcdaafgh", 3, [4, 1, 7], 2),
        # all of the second cluster is of the group of 4: its share goes to the other, ties to the lowest row
        ("badaaagh", 5, [4, 7, 0, 2, 6], 1),
    ],
)
def test_cold_start_hand_computed(groups: str, budget: int, picks: list[int], medoids: int) -> None:
    points = line(0, 20, 1, 21, 2, 24, 3, 10)
    chosen = cold_start(points, [7, 4, 7, 4, 7, 4, 7, 7], budget, groups=list(groups))
    assert chosen.picks.tolist() == picks
    assert chosen.evidence["role"].tolist() == ["medoid"] * medoids + ["farthest"] * (budget - medoids)


def test_cold_start_medoid_comes_with_the_next_turn() -> None:
    points = line(0, 20, 1, 21, 2, 24, 3, 10)
    chosen = cold_start(points, [7, 4, 7, 4, 7, 4, 7, 7], 7, groups=list("badaaagh"))
    assert chosen.picks.tolist() == [4, 7, 0, 2, 6, 3, 5]
    assert chosen.evidence["role"].tolist()[5:] == ["medoid", "farthest"]
    assert chosen.evidence["distance"].tolist() == [0, 8, 2, 1, 1, 0, 3]


@pytest.mark.parametrize("kind", ["grid", "normal"])
def test_references_on_random_pools(reference: ModuleType, kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    for _ in range(80):
        count = int(rng.integers(1, 18))
        grid = rng.integers(0, 4, size=(count, 2)).astype(float)
        points = grid if kind == "grid" else rng.normal(size=(count, 2))
        groups, labels = rng.integers(0, 7, size=count).tolist(), rng.integers(0, 4, size=count)
        budget, entropy = int(rng.integers(0, count + 1)), rng.random(count)
        known = sorted(rng.choice(count, size=int(rng.integers(0, count)), replace=False).tolist())
        args = (points.tolist(), entropy.tolist(), budget, 0.3, known)
        wanted = [row for row, _ in reference.active(*args, groups=groups)]
        assert active(points, entropy, budget, 0.3, known, groups=groups).picks.tolist() == wanted
        found = cold_start(points, labels, budget, groups=groups)
        slow = reference.cold_start_in_turns(points.tolist(), labels.tolist(), budget, groups)
        assert found.picks.tolist() == [row for row, _, _ in slow]
        assert found.evidence["role"].tolist() == [role for _, role, _ in slow]
        if known:
            wanted = reference.farthest_first(points.tolist(), budget, known, groups)
            far = farthest_first(points, budget, labelled=known, groups=groups)
            assert far.picks.tolist() == wanted


@given(groups=st.lists(st.sampled_from("abcd"), min_size=1, max_size=12))
def test_random_keeps_its_order_within_a_turn(reference: ModuleType, groups: list[str]) -> None:
    order = random(np.zeros((len(groups), 1)), 12).picks.tolist()
    expected: list[int] = []
    while len(expected) < len(order):
        rest = [row for row in order if row not in expected]
        expected.append(reference.in_turn(rest, expected, groups)[0])
    assert random(np.zeros((len(groups), 1)), 12, groups=groups).picks.tolist() == expected
