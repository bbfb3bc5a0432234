"""A lead changes alpha while the server runs; the present and later rounds use it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from server.marks import AlphaRequest, choose_alpha
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
