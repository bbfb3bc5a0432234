"""Images held out one by one, by the setting `hold_out`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pool.database.marks import HELD_OUT
from strategies import measuring
from strategies.measuring import DRAWN_SINGLY, decide_measures, measuring_text
from strategies.ranking.held_out import hold_out
from strategies.strategy import all_strategies


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "MIN_LABELS", 4)
    monkeypatch.setattr(measuring, "EVERY", 3)


def begin(world: Any, budget: int) -> None:
    settings = replace(world.context.settings, hold_out=budget)
    world.context = replace(world.context, settings=settings)
    world.strategies = all_strategies(world.context)
    decide_measures(world.context.state)
    world.prepare()


def roles(world: Any, count: int) -> list[str]:
    """Hand out and label images; return their roles."""
    given = []
    for _ in range(count):
        hold_out(world.context, world.pool)  # as the refresh does after each label
        answer = world.ask()
        given.append(answer["selection"]["role"])
        world.label(answer["id"])
    return given


def test_every_nth_image_is_held_out_once_there_are_enough_labels(world: Any) -> None:
    begin(world, 2)
    assert "validation" not in roles(world, 4), "each of the first labels is for training"
    assert roles(world, 6) == ["validation", "farthest", "farthest", "validation", "farthest", "farthest"]
    drawn = [mark for mark in world.context.state.marks.all() if mark.kind == HELD_OUT]
    assert {mark.client for mark in drawn} == {DRAWN_SINGLY} and len(drawn) == 2, "no more than the setting"
    assert not {mark.image for mark in drawn} & set(world.pool.labelled)


def test_none_is_held_out_by_default_or_in_a_pool_of_a_former_version(world: Any) -> None:
    world.label(*world.images[:4])
    begin(world, 2)
    assert world.context.state.marks.measures() is False
    hold_out(world.context, world.pool)
    decide_measures(world.context.state)
    assert not world.pool.held_out and world.context.state.marks.measures() is False


def test_the_status_says_how_models_are_measured(world: Any) -> None:
    assert measuring_text(world.context, world.pool) == "No image is held out."
    begin(world, 2)
    assert measuring_text(world.context, world.pool) == (
        "No image is held out. Until there are 4 labels, Dice is cross-validated on them; then every fifth "
        "image handed out is held out, up to 2."
    )
    roles(world, 5)
    assert measuring_text(world.context, world.pool) == (
        "Trained models are measured on 1 held-out images; every fifth image handed out is held out, up to 2."
    )
