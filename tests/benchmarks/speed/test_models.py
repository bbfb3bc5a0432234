"""Rows about networks compare equivalent work; their speed is the table's business."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from benchmarks.speed import models as speed_models
from benchmarks.speed import training as speed_training
from benchmarks.speed.row import Row


@pytest.mark.parametrize("compare", [speed_models.segmentation_forward, speed_models.entropies])
def test_both_ways_agree(compare: Callable[[bool], Row]) -> None:
    row = compare(True)
    (gap,) = re.findall(r"difference (\S+) of", row.same)
    assert float(gap) <= 1e-5
    assert row.ratio is not None and row.ratio > 0


def test_both_trainings_learn_alike() -> None:
    row = speed_training.training(True)
    (losses,) = re.findall(r"loss of epoch 3: (\S+), (\S+)", row.same)
    stock, ours = map(float, losses)
    assert ours == pytest.approx(stock, rel=0.1)
