"""Picks are the same with NumPy 1 (Python 3.11, 3.12) and NumPy 2 (3.13): both are those of `picks.json`.

A method that is new there gets the line that its failure prints.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from strategies.selectors.registry import METHODS
from tests.strategies.selectors.test_contract import run, spread

PICKS = json.loads(Path(__file__).with_name("picks.json").read_text())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_picks_are_the_same_with_every_numpy(name: str) -> None:
    picks = [
        run(name, spread(rows, columns), 12, labelled=[1, 2], seed=3).picks.tolist()
        for rows, columns in ((40, 5), (400, 16))
    ]
    assert picks == PICKS.get(name), f"{json.dumps(name)}: {picks}"


def test_no_method_is_left_over() -> None:
    assert sorted(PICKS) == sorted(METHODS)
