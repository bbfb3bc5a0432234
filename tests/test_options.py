"""The options of the tests."""

from __future__ import annotations

from pathlib import Path

from tests.options import SLOWEST


def test_the_slowest_files_are_files_each_named_once() -> None:
    assert [file for file in SLOWEST if not (Path(__file__).parents[1] / file).is_file()] == []
    assert len(set(SLOWEST)) == len(SLOWEST)
