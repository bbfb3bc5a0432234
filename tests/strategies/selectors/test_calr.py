"""Clusters of calr in a pool too large to merge pairwise."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from strategies.selectors import calr

module = importlib.import_module("strategies.selectors.calr")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EXACT", 200)


@pytest.mark.parametrize("tries", [0, module._MAX_RADII])
def test_rows_that_are_about_equally_far_apart(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    """Twice the radius gives one subcluster, half of it one per row: a search by factors never ends."""
    monkeypatch.setattr(module, "_MAX_RADII", tries)
    points = np.random.default_rng(0).normal(size=(400, 256))
    assert (module._birch(points, 12, 0) is None) == (tries == 0)
    assert sorted(set(module.agglomerate(points, 12, 0).tolist())) == list(range(12))
    assert calr(points, 12, seed=3).picks.tolist() == calr(points, 12, seed=3).picks.tolist()


@pytest.mark.parametrize("budget", [250, 399, 400, 1000])
def test_more_picks_than_can_be_merged(budget: int) -> None:
    points = np.random.default_rng(1).normal(size=(400, 3))
    assert len(set(calr(points, budget).picks.tolist())) == min(budget, 400)


def test_blobs_are_found_by_birch_and_by_the_sample() -> None:
    rng = np.random.default_rng(2)
    points = np.concatenate([rng.normal(size=(n, 8)) + 40 * at for at, n in enumerate((150, 100, 50))])
    wanted = [0] * 150 + [1] * 100 + [2] * 50
    assert module._birch(points, 3, 0) is not None
    assert module.agglomerate(points, 3, 0).tolist() == wanted
    assert module.numbered_by_size(module._ward_on_sample(points, 3, 0)).tolist() == wanted
