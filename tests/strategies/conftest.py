"""A small pool with a real folder and the real state for tests to act on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_configs import Bundle
from pool.database.plans import Plan
from pool.database.state import State
from pool.datastore import PoolDatastore
from strategies.context import Context
from strategies.planning.planner import Planner
from strategies.settings import Settings
from strategies.snapshot import PoolSnapshot
from strategies.stages import stage_of
from strategies.strategy import all_strategies

IMAGES = [f"i{n:02d}" for n in range(12)]
POINTS = np.random.default_rng(5).normal(size=(len(IMAGES), 2))
BUDGET = 4
STRATEGIES = "auto,cold_start,active,entropy,diversity,random"


class World:
    """A folder of small images and its pool, with helpers that label, train and ask."""

    images, points, budget = IMAGES, POINTS, BUDGET

    def __init__(self, folder: Path) -> None:
        studies = folder / "studies"
        studies.mkdir()
        for n, image in enumerate(IMAGES):
            pixels = np.arange(32 * 32, dtype=np.uint32).reshape(32, 32) * (n + 1) % 251
            Image.fromarray(pixels.astype(np.uint8)).save(studies / f"{image}.png")
        self.mask = folder / "mask.png"
        Image.fromarray(np.eye(32, dtype=np.uint8)).save(self.mask)
        bundle = Bundle("cxr_lungs")
        self.store = PoolDatastore(str(studies), bundle.get("labels"))
        state = State(folder / "state", migrate=True)
        self.context = Context(
            state,
            Settings(cold_start_budget=BUDGET, batch_size=2, strategies=STRATEGIES, instant=False),
            "descriptor",
        )
        self.strategies = all_strategies(self.context)

    @property
    def stage(self) -> str:
        return stage_of(self.context, self.pool)

    @property
    def pool(self) -> PoolSnapshot:
        return PoolSnapshot.of(self.context, self.store)

    def ask(self, strategy: str = "auto", **more: Any) -> dict[str, Any]:
        return self.strategies[strategy]({"strategy": strategy, **more}, self.store)

    def label(self, *images: str) -> None:
        for image in images:
            self.store.save_label(image, str(self.mask), "final", {})
            self.context.state.handouts.labelled(image, "me", {})

    def prepare(self) -> None:
        self.context.state.maps.add(self.context.layout_key, dict.fromkeys(IMAGES, "1"), POINTS)
        self.plan("cold_start")

    def plan(self, name: str, **more: Any) -> Plan:
        planner = Planner(self.context)
        return planner.make(self.pool, planner.series(name, **more))

    def train(self, name: str, plan: bool = True) -> None:
        """Register a model of the present labels, with an entropy for each unlabelled image."""
        self.context.state.models.add(name, self.pool.labelled, {})
        if plan:
            values = {image: 0.1 + IMAGES.index(image) / 50 for image in self.pool.unlabelled}
            self.context.state.scores.add_entropies(name, values)
            self.plan("active", alpha=0.3)

    def plan_due(self) -> list[str]:
        """Make the plans of rounds that are due, as the refresh does; return their alphas."""
        planner, pool = Planner(self.context), self.pool
        due = planner.due(pool, lambda method: method.grows)
        for series in due:
            planner.make(pool, series)
        return [str(series.alpha) for series in due]

    @property
    def cold(self) -> list[str]:
        plan = self.context.state.plans.newest(self.context.cold_key)
        assert plan is not None
        return [pick["image"] for pick in plan.picks]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()
