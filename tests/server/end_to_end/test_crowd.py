"""Many annotators at once, with kills: the short form of `python -m benchmarks.crowd`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.load.crowd import run_crowd
from benchmarks.phantoms.generate import generate
from tests.forked import commands


@pytest.mark.timeout(1200)
def test_handouts_to_32_annotators(tmp_path: Path, long: bool) -> None:
    """Hand out 1,000 times; 300 times in the short form."""
    handouts = 1000 if long else 300
    generate(tmp_path, count=400 if long else 120, seed=1, size=64)
    report = run_crowd(tmp_path, clients=32, handouts=handouts, kills=0, chance=random.Random(1))
    assert report["wrong"] == [] and report["handouts"] >= handouts and report["labels"] > handouts / 20


@pytest.mark.timeout(1200)
def test_kills_lose_nothing(tmp_path: Path, long: bool) -> None:
    """Kill ten times; three times in the short form."""
    kills = 10 if long else 3
    generate(tmp_path, count=60, seed=2, size=64)
    with commands():
        report = run_crowd(tmp_path, clients=4, handouts=0, kills=kills, chance=random.Random(2))
    assert report["wrong"] == [] and sum(report["killed"].values()) == kills
    assert report["killed"]["server"] >= (2 if long else 1) and report["labels"] > 0
