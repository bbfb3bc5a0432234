"""Many annotators at once, with kills: the short form of `python -m benchmarks.crowd`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.load.crowd import run_crowd
from benchmarks.phantoms.generate import generate


@pytest.mark.timeout(1200)
def test_a_thousand_handouts_to_32_annotators(tmp_path: Path) -> None:
    generate(tmp_path, count=400, seed=1, size=64)
    report = run_crowd(tmp_path, clients=32, handouts=1000, kills=0, chance=random.Random(1))
    assert report["wrong"] == [] and report["handouts"] >= 1000 and report["labels"] > 50


@pytest.mark.timeout(1200)
def test_ten_kills_lose_nothing(tmp_path: Path) -> None:
    generate(tmp_path, count=60, seed=2, size=64)
    report = run_crowd(tmp_path, clients=4, handouts=0, kills=10, chance=random.Random(2))
    assert report["wrong"] == [] and sum(report["killed"].values()) == 10
    assert report["killed"]["server"] >= 2 and report["labels"] > 0
