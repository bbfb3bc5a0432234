"""What every selector must do, whatever its rule. A new selector is one more line in SELECTORS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import selectors
from strategies.selectors import Selection

Run = Callable[..., Selection]


def _cold_start(points: Any, budget: int, *, labelled: Any = (), candidates: Any = None) -> Selection:
    rows = set(range(len(points))) if candidates is None else {int(row) for row in candidates}
    open_rows = sorted(rows - {int(row) for row in labelled})
    return selectors.cold_start(points, np.arange(len(points)) % 3, budget, candidates=open_rows)


def _with_entropy(select: Run) -> Run:
    def run(points: Any, budget: int, *, labelled: Any = (), candidates: Any = None) -> Selection:
        values = np.cos(np.arange(len(points)) * 1.7)
        return select(points, values, budget, labelled=labelled, candidates=candidates)

    return run


# name -> the selector as (points, budget, *, labelled, candidates), its evidence, whether a larger budget
# only adds picks at the end
SELECTORS: dict[str, tuple[Run, set[str], bool]] = {
    "random": (selectors.random, {"role"}, True),
    "farthest_first": (selectors.farthest_first, {"role", "distance"}, True),
    "cold_start": (_cold_start, {"role", "cluster", "distance", "score"}, False),
}
for _name in ("active", "entropy", "diversity"):
    _names = {"score", "entropy", "raw_entropy", "distance", "role"}
    SELECTORS[_name] = (_with_entropy(getattr(selectors, _name)), _names, True)

every_selector = pytest.mark.parametrize("name", sorted(SELECTORS))


def spread(count: int, columns: int = 2) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(count, columns))


@st.composite
def calls(draw: st.DrawFn) -> tuple[np.ndarray, int, list[int], list[int] | None]:
    count = draw(st.integers(0, 14))
    columns = draw(st.sampled_from([1, 2, 3, 9]))
    cells = draw(st.lists(st.integers(-3, 3), min_size=count * columns, max_size=count * columns))
    points = np.array(cells, dtype=float).reshape(count, columns)
    rows = st.lists(st.integers(0, count - 1), max_size=count) if count else st.just([])
    return points, draw(st.integers(0, 16)), draw(rows), draw(st.none() | rows)


@every_selector
@given(call=calls())
@settings(max_examples=60, deadline=None)
def test_picks_are_open_rows_without_repetition(
    name: str, call: tuple[np.ndarray, int, list[int], list[int] | None]
) -> None:
    run, names, grows_at_end = SELECTORS[name]
    points, budget, labelled, candidates = call
    open_rows = set(range(len(points)) if candidates is None else candidates) - set(labelled)
    chosen = run(points, budget, labelled=labelled, candidates=candidates)
    picks = chosen.picks.tolist()
    assert len(picks) == len(set(picks)) == min(budget, len(open_rows))
    assert set(picks) <= open_rows
    assert chosen.picks.dtype == np.int64
    assert set(chosen.evidence) == names
    assert all(len(values) == len(picks) for values in chosen.evidence.values())
    numbers = [values for values in chosen.evidence.values() if values.dtype.kind == "f"]
    assert all(np.isfinite(values).all() for values in numbers)
    if grows_at_end:
        fewer = run(points, budget // 2, labelled=labelled, candidates=candidates).picks
        assert picks[: len(fewer)] == fewer.tolist()


@every_selector
def test_same_call_same_picks_and_input_untouched(name: str) -> None:
    run, points = SELECTORS[name][0], spread(30)
    before = points.copy()
    first, second = run(points, 7, labelled=[3, 4]), run(points, 7, labelled=[4, 3, 3])
    assert first.picks.tolist() == second.picks.tolist()
    assert (points == before).all()


@every_selector
def test_input_types(name: str) -> None:
    run, points = SELECTORS[name][0], np.round(spread(20) * 4) / 4  # exact in every type
    wanted = run(points, 5, labelled=[2]).picks.tolist()
    for same in (
        points.tolist(),
        points.astype(np.float32),
        points.astype(np.float16),
        np.asfortranarray(points),
    ):
        assert run(same, np.int64(5), labelled=np.array([2], dtype=np.uint8)).picks.tolist() == wanted
    assert run(points, 5, labelled={2}, candidates=range(20)).picks.tolist() == wanted


@every_selector
@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("budget", [0, 1, 2, 5])
def test_small_pools(name: str, count: int, budget: int) -> None:
    run = SELECTORS[name][0]
    assert len(run(spread(count), budget).picks) == min(count, budget)
    assert len(run(np.zeros((count, 2)), budget).picks) == min(count, budget)
    assert len(run(spread(count), budget, labelled=range(count)).picks) == 0


@every_selector
def test_empty_list_is_an_empty_pool(name: str) -> None:
    chosen = SELECTORS[name][0]([], 3)
    assert len(chosen.picks) == 0
    assert set(chosen.evidence) == SELECTORS[name][1]


@every_selector
@pytest.mark.parametrize("points", [np.ones((6, 2)), np.arange(6.0)[:, None] * [[1.0, 2.0]], spread(6, 20)])
def test_identical_collinear_and_wide_points(name: str, points: np.ndarray) -> None:
    run = SELECTORS[name][0]
    assert sorted(run(points, 6).picks.tolist()) == list(range(6))
    assert len(run(points, 4).picks) == 4


@every_selector
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_unusable_point_names_its_row(name: str, value: float) -> None:
    points = spread(9)
    points[5, 1] = value
    with pytest.raises(ValueError, match=r"points row 5 holds"):
        SELECTORS[name][0](points, 2)


@every_selector
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": -1}, "budget must not be negative, it is -1"),
        ({"points": np.zeros(4)}, "points must have shape"),
        ({"points": np.zeros((4, 0))}, "points must have shape"),
        ({"points": np.zeros((2, 2, 2))}, "points must have shape"),
        ({"candidates": [1, 9]}, "candidates names row 9"),
        ({"candidates": [-1]}, "candidates names row -1"),
    ],
)
def test_bad_arguments(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SELECTORS[name][0](**({"points": spread(4), "budget": 2} | arguments))


@pytest.mark.parametrize("name", sorted(set(SELECTORS) - {"cold_start"}))
@pytest.mark.parametrize("labelled", [[4], [-1], [0.5], np.array([True, False, False, False])])
def test_bad_labelled_rows(name: str, labelled: Any) -> None:
    with pytest.raises(ValueError, match="labelled"):
        SELECTORS[name][0](spread(4), 2, labelled=labelled)


@every_selector
def test_budget_must_be_whole(name: str) -> None:
    with pytest.raises(TypeError):
        SELECTORS[name][0](spread(4), 2.0)


def test_evidence_must_match_the_picks() -> None:
    with pytest.raises(ValueError, match="score"):
        Selection(np.arange(2), {"score": np.zeros(3)})


def test_public_names() -> None:
    assert all(callable(getattr(selectors, name)) for name in selectors.__all__)
