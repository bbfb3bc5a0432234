"""A lead changes alpha while the server runs; the present and later rounds use it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from pool.errors import PoolError
from server.marks import AlphaRequest, choose_alpha
from server.pages import planning
from server.pages.planning import Previews
from strategies.planning.planner import Planner
from strategies.selectors.registry import METHODS


def choose(world: Any, alpha: float | None) -> None:
    choose_alpha(world.context, AlphaRequest(alpha=alpha))


def in_active(world: Any) -> None:
    world.prepare()
    world.label(*world.cold)
    world.train("m1")


def test_the_former_plan_holds_until_the_worker_has_planned_what_was_chosen(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request plans: in a large pool that takes seconds."""
    in_active(world)
    before = world.ask(client_id="ann")["selection"]
    assert before["alpha"] == 0.3
    with monkeypatch.context() as patch:
        patch.setattr(Planner, "choose", lambda *_: pytest.fail("planned inside a request"))
        choose(world, 1.0)
        meanwhile = world.ask(client_id="bob")["selection"]
        assert (meanwhile["stage"], meanwhile["alpha"]) == ("active", 0.3)
        assert world.context.active_alpha == 1.0
    assert "1.0" in world.plan_due()
    after = world.ask(client_id="cleo")["selection"]
    assert after["stage"] == "active" and after["alpha"] == 1.0
    entry = world.context.state.ledger.entries()
    assert [row["details"] for row in entry if row["event"] == "alpha"] == [{"alpha": 1.0, "client": "lead"}]


@pytest.mark.parametrize("offered", ["auto,active", "auto"])
def test_on_a_large_map_the_worker_plans_what_is_previewed(
    world: Any, offered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.context = replace(world.context, settings=replace(world.context.settings, strategies=offered))
    in_active(world)
    arguments = (world.context, world.store, 1.0, 3, "lead")
    at_once = Previews().picks(*arguments)
    monkeypatch.setattr(planning, "_MAX_NUMBERS", 2 * len(world.images) - 1)
    with monkeypatch.context() as patch:
        patch.setattr(Planner, "choose", lambda *_: pytest.fail("planned inside a request"))
        with pytest.raises(PoolError, match="with alpha 1 are being worked out"):
            Previews().picks(*arguments)
    assert "1.0" in world.plan_due()
    planned = Previews().picks(*arguments)
    assert [pick["image"] for pick in planned["picks"]] == [pick["image"] for pick in at_once["picks"]]
    assert (planned["alpha"], planned["configured"]) == (1.0, 0.3) and world.context.active_alpha == 0.3
    world.train("m2")
    with pytest.raises(PoolError, match="being worked out"):  # that plan is of an earlier round
        Previews().picks(*arguments)
    assert "1.0" in world.plan_due() and Previews().picks(*arguments)["round"] == 2


def test_later_rounds_follow_it_until_it_is_taken_back(world: Any) -> None:
    in_active(world)
    choose(world, 0.8)
    assert world.context.alpha_of(METHODS["active"]) == 0.8
    choose(world, None)
    assert world.context.alpha_of(METHODS["active"]) == 0.3 and world.stage == "active"
    assert world.ask()["selection"]["alpha"] == 0.3


def test_of_several_choices_in_a_row_the_last_planned_one_holds(world: Any) -> None:
    in_active(world)
    choose(world, 0.8)
    world.plan_due()
    choose(world, 0.5)
    choose(world, 0.6)  # before 0.5 was planned
    assert world.stage == "active" and world.ask()["selection"]["alpha"] == 0.8
    choose(world, None)  # the setting, which is planned
    assert world.ask()["selection"]["alpha"] == 0.3


def test_it_may_be_chosen_before_there_is_a_model(world: Any) -> None:
    world.prepare()
    choose(world, 0.5)
    assert world.stage == "cold_start" and world.ask()["id"] == world.cold[0]


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), "much"])
def test_what_is_no_alpha_is_refused(alpha: Any) -> None:
    with pytest.raises(ValidationError):
        AlphaRequest(alpha=alpha)
