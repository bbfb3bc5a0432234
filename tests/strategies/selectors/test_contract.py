"""Contract of all registered methods, whatever their rule."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from strategies import selectors
from strategies.ranking.plain_reasons import plain_reason
from strategies.selectors import Selection
from strategies.selectors.registry import METHODS, NEEDS, Method
from tests.strategies.selectors.drawn import for_drawn

every_method = pytest.mark.parametrize("name", sorted(METHODS))
takes_labels = [name for name, m in METHODS.items() if "labels" in (m.select.__kwdefaults__ or {})]
FACTS = {  # what reasons may name besides the evidence
    "seed": 42,
    "round": 1,
    "alpha": 0.3,
    "alpha_note": "",
    "structures": "lungs",
    "head_note": "",
}
MEMORY = 250 * 2**20  # bytes


def values_for(name: str, count: int) -> dict[str, np.ndarray]:
    """Return a method's inputs besides points, one number per row, derived from the row's number."""
    rows = np.arange(count)
    made = {
        "uncertainty": 1 + np.cos(rows * 1.7),
        "class_entropy": np.stack([1 + np.sin(rows * 0.7), 1 + np.cos(rows * 2.9)], axis=1),
        "foreground": np.where(rows % 4 == 0, 0.0, 0.3),
    }
    return {key: made[key] for key in METHODS[name].values}


def run(name: str, points: Any, budget: Any, **more: Any) -> Selection:
    return METHODS[name].select(points, budget, **values_for(name, len(points)), **more)


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


@every_method
def test_picks_are_open_rows_without_repetition(name: str, long: bool) -> None:
    for_drawn(name, long, 25, calls(), lambda call: check_picks(name, *call))


def check_picks(
    name: str, points: np.ndarray, budget: int, labelled: list[int], candidates: list[int] | None
) -> None:
    open_rows = set(range(len(points)) if candidates is None else candidates) - set(labelled)
    chosen = run(name, points, budget, labelled=labelled, candidates=candidates)
    picks = chosen.picks.tolist()
    assert len(picks) == len(set(picks)) == min(budget, len(open_rows))
    assert set(picks) <= open_rows
    assert chosen.picks.dtype == np.int64
    check_evidence(name, chosen)
    if METHODS[name].appends:
        fewer = run(name, points, budget // 2, labelled=labelled, candidates=candidates).picks
        assert picks[: len(fewer)] == fewer.tolist()


def check_evidence(name: str, chosen: Selection) -> None:
    """Check for one finite value per pick and name, all that the reason needs, and a text for each pick."""
    assert "role" in chosen.evidence
    assert set(chosen.evidence) == set(run(name, spread(3), 0).evidence), "the same names for every budget"
    for values in chosen.evidence.values():
        assert values.shape == chosen.picks.shape
        assert values.dtype.kind in "iUf" and (values.dtype.kind == "U" or np.isfinite(values).all())
    for i in range(len(chosen.picks)):
        pick = {key: values[i].item() for key, values in chosen.evidence.items()}
        said = METHODS[name].explain(pick, FACTS)
        assert said.endswith(".") and "{" not in said
        check_plain_reason(METHODS[name], pick)


def check_plain_reason(method: Method, pick: dict[str, Any]) -> None:
    """Check for a sentence in a reader's words wherever the method declares one, and for none elsewhere."""
    plain = method.plain if isinstance(method.plain, str) else method.plain.get(pick["role"], "")
    said = plain_reason(method, {"stage": "active", "round": 1, "rank": 1, **pick})
    assert (said is None) == (not plain)
    assert said is None or (said.endswith(".") and not re.search(r"[{}]|\d\.\d|None", said))


@every_method
def test_same_call_same_picks_and_input_untouched(name: str) -> None:
    points = spread(30)
    before = points.copy()
    first, second = run(name, points, 7, labelled=[3, 4]), run(name, points, 7, labelled=[4, 3, 3])
    assert first.picks.tolist() == second.picks.tolist()
    assert (points == before).all()


def picks_of_all() -> dict[str, list[int]]:
    """Return the picks of all methods with their own clusters, to compare with another process."""
    return {
        name: run(name, spread(40, 5), 6, labelled=[1, 2], seed=3).picks.tolist() for name in sorted(METHODS)
    }


def test_same_picks_in_another_process() -> None:
    code = (
        "import importlib.util, json, sys\n"
        f"spec = importlib.util.spec_from_file_location('contract', {str(Path(__file__))!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(json.dumps(module.picks_of_all()))\n"
    )
    env = os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2"}
    root = str(Path(selectors.__file__).parents[2])
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=env | {"PYTHONPATH": root},
    )
    assert json.loads(other.stdout) == picks_of_all()


@every_method
def test_input_types(name: str) -> None:
    points = np.round(spread(20) * 4) / 4  # exact in every type
    wanted = run(name, points, 5, labelled=[2]).picks.tolist()
    for same in (
        points.tolist(),
        points.astype(np.float32),
        points.astype(np.float16),
        np.asfortranarray(points),
    ):
        assert run(name, same, np.int64(5), labelled=np.array([2], dtype=np.uint8)).picks.tolist() == wanted
    assert run(name, points, 5, labelled={2}, candidates=range(20)).picks.tolist() == wanted


@every_method
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_small_pools(name: str, count: int) -> None:
    for budget in (0, 1, 2, 5):
        assert len(run(name, spread(count), budget).picks) == min(count, budget)
        assert len(run(name, np.zeros((count, 2)), budget).picks) == min(count, budget)
        assert len(run(name, spread(count), budget, labelled=range(count)).picks) == 0


@every_method
def test_empty_list_is_an_empty_pool(name: str) -> None:
    chosen = run(name, [], 3)
    assert len(chosen.picks) == 0
    check_evidence(name, chosen)


@every_method
@pytest.mark.parametrize("points", [np.ones((6, 2)), np.arange(6.0)[:, None] * [[1.0, 2.0]], spread(6, 20)])
def test_identical_collinear_and_wide_points(name: str, points: np.ndarray) -> None:
    assert sorted(run(name, points, 6).picks.tolist()) == list(range(6))
    assert sorted(run(name, points, 100).picks.tolist()) == list(range(6))
    assert len(run(name, points, 4).picks) == 4


@every_method
def test_skipped_rows_are_not_picked_but_stay_in_the_pool(name: str) -> None:
    open_rows = list(range(0, 30, 2))
    chosen = run(name, spread(30), 5, labelled=[0, 1], candidates=open_rows)
    assert set(chosen.picks.tolist()) <= set(open_rows) - {0}


# the gains of probcover are whole numbers, so that it always has ties
@pytest.mark.parametrize(
    "name", [n for n, m in METHODS.items() if m.deterministic or n in takes_labels and n != "probcover"]
)
def test_row_order_does_not_matter_without_ties(name: str, long: bool) -> None:
    for_drawn(name, long, 20, st.integers(0, 10_000), lambda seed: check_row_order(name, seed))


def check_row_order(name: str, seed: int) -> None:
    """Check the same rows in another order, with a given clustering if the method uses one."""
    rng = np.random.default_rng(seed)
    points, order = rng.normal(size=(25, 3)), rng.permutation(25)
    # of 13, 7 and 5 rows, 11, 6 and 5 of them unlabelled: no two are equally large
    extra = {"labels": np.repeat([4, 9, 2], [13, 7, 5])} if name in takes_labels else {}
    given_values = {key: rng.random((25, 2) if key == "class_entropy" else 25) for key in values_for(name, 0)}
    wanted = METHODS[name].select(points, 6, labelled=[0, 1, 14], **extra, **given_values).picks
    moved = METHODS[name].select(
        points[order],
        6,
        labelled=np.flatnonzero(np.isin(order, [0, 1, 14])),
        **{key: values[order] for key, values in (extra | given_values).items()},
    )
    assert order[moved.picks].tolist() == wanted.tolist()


@pytest.mark.parametrize("name", takes_labels)
def test_a_given_clustering_leaves_nothing_to_the_seed(name: str) -> None:
    labels = np.arange(30) % 4
    first = run(name, spread(30), 6, labels=labels, seed=1)
    assert first.picks.tolist() == run(name, spread(30), 6, labels=labels, seed=2).picks.tolist()
    with pytest.raises(ValueError, match="labels must have one value per row"):
        run(name, spread(30), 6, labels=labels[:5])
    with pytest.raises(ValueError, match="labels must be integers"):
        run(name, spread(30), 6, labels=labels / 2)


@every_method
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_unusable_point_names_its_row(name: str, value: float) -> None:
    points = spread(9)
    points[5, 1] = value
    with pytest.raises(ValueError, match=r"points row 5 holds"):
        run(name, points, 2)


@every_method
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": -1}, "budget must not be negative, got -1"),
        ({"points": np.zeros(4)}, "points must have shape"),
        ({"points": np.zeros((4, 0))}, "points must have shape"),
        ({"points": np.zeros((2, 2, 2))}, "points must have shape"),
        ({"candidates": [1, 9]}, "candidates names row 9"),
        ({"candidates": [-1]}, "candidates names row -1"),
        ({"labelled": [4]}, "labelled names row 4"),
        ({"labelled": [-1]}, "labelled names row -1"),
        ({"labelled": [0.5]}, "labelled"),
        ({"labelled": np.array([True, False, False, False])}, "labelled"),
    ],
)
def test_bad_arguments(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(name, **({"points": spread(4), "budget": 2} | arguments))


@every_method
def test_budget_must_be_whole(name: str) -> None:
    with pytest.raises(TypeError):
        run(name, spread(4), 2.0)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.values])
def test_unusable_values_are_refused_except_of_labelled_rows(name: str) -> None:
    for key in METHODS[name].values:
        good = values_for(name, 6)
        bad = {**good, key: good[key].copy()}
        bad[key][2] = np.nan
        assert len(METHODS[name].select(spread(6), 2, labelled=[2], **bad).picks) == 2
        with pytest.raises(ValueError, match="of row 2 is nan"):
            METHODS[name].select(spread(6), 2, **bad)
        with pytest.raises(ValueError, match="must have"):
            METHODS[name].select(spread(6), 2, **{**good, key: good[key][:4]})


# urds_diversity_only takes the same steps as urds, and they are among the slowest
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"urds_diversity_only"}))
def test_a_large_pool_takes_bounded_memory(name: str, long: bool) -> None:
    """100,000 rows; 21,000 in the short form, of which all pairs would still be 3.5 GB.

    Measuring slows the training of vaal down, which takes the same memory whatever the pool: long form only.
    """
    if name == "vaal" and not long:
        pytest.skip("only in the long form")
    points = np.random.default_rng(1).normal(size=(100_000 if long else 21_000, 2))
    values = values_for(name, len(points))
    run(name, points[:8], 2)  # libraries are imported before memory is measured, which slows it down
    tracemalloc.start()
    try:
        chosen = METHODS[name].select(points, 8, labelled=range(4), **values)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert len(set(chosen.picks.tolist())) == 8


def test_the_registry_is_that_of_the_documentation() -> None:
    """Each method has one row: name, paper, needs, cold or warm."""
    text = (Path(selectors.__file__).parents[2] / "docs" / "selection.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| (cold|warm) \|", text, re.MULTILINE)
    assert {name for name, *_ in rows} == set(METHODS) and len(rows) == len(METHODS)
    for name, paper, needs, when in rows:
        method = METHODS[name]
        assert paper.strip() == method.paper, name
        listed = set() if needs.strip() == "nothing" else set(needs.strip().split(", "))
        assert listed == method.needs <= set(NEEDS), name
        assert when == ("cold" if method.cold else "warm"), name


def test_evidence_must_match_the_picks() -> None:
    with pytest.raises(ValueError, match="score"):
        Selection(np.arange(2), {"score": np.zeros(3)})


def test_public_names() -> None:
    assert all(callable(getattr(selectors, name)) for name in selectors.__all__)
