"""The speed table: small rows with real work, an interrupted run, and goals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.speed import complexity, methods, plain_planning
from benchmarks.speed import planning as speed_planning
from benchmarks.speed import table as speed
from benchmarks.speed.million import Names, clustered_map, measure
from benchmarks.speed.row import Row
from strategies import selectors
from strategies.selectors.registry import METHODS

POINTS = clustered_map(400)


def run(out: Path, *more: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(speed.main)
    result = CliRunner().invoke(app, ["--out", str(out), "--quick", *more])
    return result.exit_code, result.output


def row(work: str, ours: float = 1.0, goal: float | None = None) -> Row:
    return Row(work, "plain", "ours", 10.0, ours, "equal", goal)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, SimpleNamespace]:
    """Replace the parts of the table with ones that take no time."""
    modules: dict[str, SimpleNamespace] = {}
    monkeypatch.setattr(speed, "PARTS", ["one", "two"])
    importing = SimpleNamespace(import_module=lambda name: modules[name.rpartition(".")[2]])
    monkeypatch.setattr(speed, "importlib", importing)
    monkeypatch.setattr(complexity, "sizes", lambda quick: [300, 600])
    monkeypatch.setattr(methods, "sizes", lambda quick: [40, 60])
    monkeypatch.setattr(methods, "METHODS", {name: METHODS[name] for name in ("active", "alps", "random")})
    return modules


def test_a_stopped_run_goes_on_behind_its_last_row(tmp_path: Path, parts: dict[str, SimpleNamespace]) -> None:
    calls: list[str] = []

    def first(quick: bool) -> Row:
        calls.append("first")
        return row("first")

    def second(quick: bool) -> Row:
        calls.append("second")
        if calls.count("second") == 1:
            raise RuntimeError("the power went off")
        return row("second", goal=20)

    def rows(quick: bool) -> Iterator[Row]:
        calls.append("rows")
        yield row("third", ours=0.1, goal=20)

    parts["one"] = SimpleNamespace(COMPARISONS=(first, second))
    parts["two"] = SimpleNamespace(rows=rows)
    code, output = run(tmp_path)
    assert code == 1 and "the power went off" in output and "1 rows failed" in output
    assert "| first |" in (tmp_path / "table.md").read_text()
    assert run(tmp_path)[0] == 0
    assert calls == ["first", "second", "rows", "second"]
    table = (tmp_path / "table.md").read_text()
    assert "20 times: not reached (10)" in table and "20 times: reached (100)" in table
    assert "| `alps` |" in table and "| `active` |" in table and "`random`" not in table
    assert "## Growth with" in table and (tmp_path / "complexity.png").stat().st_size > 10_000
    assert list(json.loads((tmp_path / "speed.json").read_text())["rows"]) == [
        "one/first",
        "two/0",
        "one/second",
    ]
    readme = (tmp_path / "README.md").read_text()
    assert "python -m benchmarks.speed --quick" in readme and "numba" in readme


def test_numbers_of_another_run_are_not_mixed_in(tmp_path: Path, parts: dict[str, SimpleNamespace]) -> None:
    parts["one"] = SimpleNamespace(COMPARISONS=(lambda quick: row("first"),))
    (tmp_path / "speed.json").write_text(json.dumps(speed.conditions(quick=False)))
    code, output = run(tmp_path)
    assert code == 2 and "choose another --out" in output
    code, output = run(tmp_path / "new", "--only", "three")
    assert code == 2 and "unknown part 'three'" in output


def test_goals() -> None:
    assert speed.goal_of(row("none")) == ""
    assert speed.goal_of(Row("w", "b", "o", None, 16.0, "", limit_s=15.0)) == "15 s: not reached (16 s)"
    assert speed.goal_of(Row("w", "b", "o", None, 5.0, "", limit_s=15.0)) == "15 s: reached (5 s)"
    assert speed.goal_of(Row("w", "b", "o", None, 5.0, "", goal=2.0)) == "not measured"


def test_slopes_are_those_of_power_laws() -> None:
    assert complexity.slope({10: 3e-4, 100: 3e-2, 1000: 3.0}) == pytest.approx(2)


def test_plain_planning_picks_what_ours_picks() -> None:
    labels = plain_planning.best_clustering(POINTS, 3, n_init=10)
    assert labels.tolist() == selectors.cluster_by_silhouette(POINTS, 20, 3).labels.tolist()
    first = plain_planning.cold_start(POINTS, labels, 30)
    assert first == sorted(selectors.cold_start(POINTS, labels, 30).picks)
    entropy = POINTS[:, 0] ** 2
    expected = selectors.active(POINTS, entropy, 20, 0.3, first).picks.tolist()
    assert plain_planning.active(POINTS, entropy, 20, 0.3, first) == expected
    assert plain_planning.diameter(POINTS) == selectors.diameter(POINTS)


@pytest.mark.parametrize("compare", [speed_planning.silhouette, speed_planning.greedy_active])
def test_a_row_is_measured(compare: object) -> None:
    measured = compare(True)  # type: ignore[operator]
    assert measured.baseline_s > 0 and measured.ours_s > 0
    assert measured.same.startswith("the same") or float(measured.same.removeprefix("error ")) < 1e-8


def test_a_pool_of_names_is_planned_and_handed_out() -> None:
    results = measure(1_000)
    assert min(results.values()) >= 0 and results["click_active_ms"] > 0
    assert results.keys() >= {"cold_plan_s", "active_plan_s", "database_mb", "peak_memory_mb"}
    store = Names(5)
    store.label(["image_00000002"])
    assert store.count_labelled() == 1 and store.is_labelled("image_00000002")
