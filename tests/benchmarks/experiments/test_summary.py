"""The page of all suites."""

from __future__ import annotations

from benchmarks.experiments.jobs import RESULTS
from benchmarks.experiments.suite import FOLDER
from benchmarks.experiments.summary import outcomes, page


def test_every_suite_is_on_the_page_and_one_without_cells_has_its_command() -> None:
    begun, waiting = outcomes(RESULTS)
    text = page(begun, waiting)
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert {outcome.suite.name for outcome in begun} | {suite.name for suite in waiting} == names
    assert all(f"## [{outcome.suite.name}](" in text for outcome in begun)
    assert all(f"`python -m benchmarks.run {suite.name} --studies" in text for suite in waiting)
    assert text == (RESULTS / "README.md").read_text()
