"""Stages of a pool, and the hand-outs of `auto` in each."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import strategies
from pool.errors import PoolError
from strategies.planning.planner import Planner
from strategies.settings import Settings
from strategies.stages import training_due


def test_preparing_hands_out_seeded_random_images_without_repetition(world: Any) -> None:
    assert world.stage == "preparing"
    world.context.state.progress.set("embedding", 3, 12, 0.0)
    answers = [world.ask() for _ in world.images]
    assert sorted(a["id"] for a in answers) == world.images
    first = answers[0]["selection"]
    assert first["stage"] == "preparing" and first["provisional"] and first["role"] == "provisional"
    assert (first["progress"]["done"], first["progress"]["total"]) == (3, 12)
    assert "embedding, 3 of 12" in first["reason"]


def test_failed_preparation_is_answered_with_its_reason(world: Any) -> None:
    world.context.state.progress.set("failed", 0, 0, 0.0, error="no weights file")
    with pytest.raises(PoolError, match="no weights file") as caught:
        world.ask()
    assert caught.value.status == 503


def test_cold_start_follows_its_plan_and_drops_what_is_labelled(world: Any) -> None:
    world.prepare()
    outside = next(i for i in world.images if i not in world.cold)
    world.label(outside)  # counts towards the budget, the plan stays
    answers = [world.ask() for _ in range(3)]
    assert [a["id"] for a in answers] == world.cold[:3]
    assert [a["selection"]["rank"] for a in answers] == [1, 2, 3]
    assert {(a["selection"]["stage"], a["selection"]["of"]) for a in answers} == {
        ("cold_start", world.budget)
    }
    world.label(world.cold[3])
    beyond = world.ask()
    assert beyond["id"] not in world.cold and beyond["selection"]["role"] == "farthest", "all are in work"
    world.label(*world.cold[:2])
    assert world.stage == "bridging", "four labels, one of them outside the plan"


def test_cold_plan_that_is_used_up_goes_on_farthest_first(world: Any) -> None:
    world.prepare()
    world.label(*world.cold[:3])
    world.context.state.failures.add(world.cold[3], "1", "damaged")
    assert world.stage == "cold_start"
    answer, rows = world.ask(), [world.images.index(i) for i in world.cold[:3]]
    left = [i for i in world.images if i not in world.cold]
    reach = {
        i: np.linalg.norm(world.points[world.images.index(i)] - world.points[rows], axis=1).min()
        for i in left
    }
    assert answer["id"] == max(reach, key=lambda i: reach[i])
    assert answer["selection"]["stage"] == "cold_start" and answer["selection"]["role"] == "farthest"
    assert answer["selection"]["distance"] == pytest.approx(max(reach.values()))
    assert "used up" in answer["selection"]["reason"]


def test_bridging_gives_every_image_once_farthest_first(world: Any) -> None:
    world.prepare()
    world.label(*world.cold)
    assert world.stage == "bridging"
    left = [i for i in world.images if i not in world.cold]
    anchors = [world.images.index(i) for i in world.cold]
    expected: list[str] = []
    while len(expected) < len(left):
        rest = [i for i in left if i not in expected]
        reach = [
            np.linalg.norm(world.points[world.images.index(i)] - world.points[anchors], axis=1).min()
            for i in rest
        ]
        expected.append(rest[int(np.argmax(reach))])
        anchors.append(world.images.index(expected[-1]))
    answers = [world.ask() for _ in left]
    assert [a["id"] for a in answers] == expected
    assert {a["selection"]["stage"] for a in answers} == {"bridging"}
    assert "Waiting for the first model" in answers[0]["selection"]["reason"]


def test_active_needs_a_model_of_the_whole_cold_start_and_its_plan(world: Any) -> None:
    world.prepare()
    world.label(*world.cold[:2])
    world.train("early")
    assert world.stage == "cold_start"
    world.label(*world.cold[2:])
    assert world.stage == "bridging", "the model knows two labels only"
    world.train("unscored", plan=False)
    assert world.stage == "bridging", "no entropies yet"
    world.train("full")
    assert world.stage == "active"
    world.train("newer", plan=False)
    assert world.stage == "active" and world.ask()["selection"]["model"] == "full", "the older round goes on"


def test_active_goes_through_its_plan_and_ends_in_done(world: Any) -> None:
    world.prepare()
    world.label(*world.cold)
    world.train("m")
    seen = []
    while world.stage == "active":
        answer = world.ask()
        seen.append(answer["id"])
        block = answer["selection"]
        assert (block["stage"], block["round"], block["model"], block["rank"]) == (
            "active",
            1,
            "m",
            len(seen),
        )
        world.label(seen[-1])
    assert sorted(seen) == [i for i in world.images if i not in world.cold]
    assert seen[0] == max(seen), "the entropy rises with the name"
    assert world.stage == "done" and world.ask() == {}


def test_active_plan_that_is_used_up_is_extended_in_the_same_round(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.prepare()
    world.label(*world.cold)
    monkeypatch.setattr("strategies.planning.planner.MAX_PICKS", 3)
    world.train("short")
    monkeypatch.undo()
    assert world.plan_due() == ["0.0", "1.0"], "entropy and diversity are offered too"
    seen = [world.ask()["id"] for _ in range(3)]
    meanwhile = world.ask()
    assert meanwhile["id"] not in seen and meanwhile["selection"]["role"] == "farthest"
    assert meanwhile["selection"]["reason"].startswith(
        "The plan of this round is used up and is being extended: this image is the farthest"
    )
    assert world.plan_due() == ["0.3"] and world.plan_due() == []
    more = [world.ask() for _ in range(4)]
    assert {(a["selection"]["role"], a["selection"]["round"]) for a in more} == {("combined", 1)}
    assert sorted([*seen, meanwhile["id"], *(a["id"] for a in more)]) == [
        image for image in world.images if image not in world.cold
    ], "no image twice while others of the round were not handed out"
    with pytest.raises(PoolError, match=r"leased to annotators .8 images.*expires in 3[56]\d\d s") as caught:
        world.ask()
    assert caught.value.status == 409 and world.stage == "active" and world.plan_due() == []


def test_the_round_in_use_is_extended_though_a_newer_model_is_there(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.prepare()
    world.label(*world.cold)
    monkeypatch.setattr("strategies.planning.planner.MAX_PICKS", 2)
    world.train("short")
    monkeypatch.undo()
    world.train("newer", plan=False)
    world.label(*[world.ask()["id"] for _ in range(2)])
    assert "0.3" in world.plan_due()
    block = world.ask()["selection"]
    assert (block["model"], block["role"]) == ("short", "combined")


def test_new_images_are_handed_out_before_they_are_scored(world: Any) -> None:
    world.prepare()
    world.label(*world.cold)
    world.train("m")
    world.label(*[image for image in world.images[1:] if image not in world.cold])
    left = [image for image in world.images if image not in world.pool.labelled]
    world.context.state.plans.get.cache_clear()
    with world.context.state.scores._db.engine.begin() as connection:  # as if it had just arrived
        connection.exec_driver_sql(f"DELETE FROM entropies WHERE image = '{left[0]}'")
        connection.exec_driver_sql("UPDATE plans SET picks = '[]' WHERE kind = 'active'")
    answer = world.ask()
    assert answer["id"] == left[0] and "not scored yet" in answer["selection"]["reason"]


def test_what_cannot_be_read_is_not_done(world: Any) -> None:
    world.context.state.failures.add("i00", "1", "damaged")
    world.label(*world.images[1:])
    assert world.stage != "done"
    with pytest.raises(PoolError, match="1 cannot be read .*i00") as caught:
        world.ask()
    assert caught.value.status == 409


@pytest.mark.parametrize("alpha", [2, -0.1, float("nan"), "0.3", True, None])
def test_alpha_of_a_request_is_checked(world: Any, alpha: Any) -> None:
    with pytest.raises(PoolError) as caught:
        world.ask("active", alpha=alpha)
    assert caught.value.status == 400


@pytest.mark.parametrize("strategy", ["active", "entropy", "diversity"])
def test_active_strategies_say_what_is_missing(world: Any, strategy: str) -> None:
    with pytest.raises(PoolError, match="needs a trained model") as caught:
        world.ask(strategy)
    assert caught.value.status == 409


def test_a_requested_alpha_follows_the_newest_model(world: Any) -> None:
    world.prepare()
    world.label(*world.cold)
    world.train("one")
    with pytest.raises(
        PoolError, match="active with alpha 0.5 is being planned; ask again in a mom"
    ) as caught:
        world.ask("active", alpha=0.5)
    assert caught.value.status == 409
    for model in ("one", "two"):
        assert "0.5" in world.plan_due()
        answer = world.ask("active", alpha=0.5)
        assert (answer["selection"]["model"], answer["selection"]["alpha"]) == (model, 0.5)
        world.label(answer["id"])
        world.train("two")
        assert world.ask("active", alpha=0.5)["selection"]["model"] == model, "until the newer one is planned"


def test_the_alphas_asked_for_last_are_planned(world: Any) -> None:
    world.prepare()
    world.label(*world.cold)
    world.train("m")
    world.plan_due()
    for alpha in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.5):
        with suppress(PoolError):
            world.ask("active", alpha=alpha)
    assert world.plan_due() == ["0.6", "0.5", "0.4", "0.2"], "0.3 is planned anyway"
    entries = [entry["event"] for entry in world.context.state.ledger.entries()]
    assert entries.count("plan") == 8 and "alpha" not in entries
    assert world.context.active_alpha == 0.3


def test_no_request_plans(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world.prepare()
    world.label(*world.cold)
    monkeypatch.setattr("strategies.planning.planner.MAX_PICKS", 1)
    world.train("m")

    def refuse(*_: Any) -> None:
        raise AssertionError("planned inside a request")

    monkeypatch.setattr(Planner, "choose", refuse)
    for strategy in world.strategies:
        for _ in range(2):
            with suppress(PoolError):
                world.ask(strategy)
    with suppress(PoolError):
        world.ask("active", alpha=0.7)


def test_a_click_crosses_few_files(world: Any) -> None:
    """Above the pool's own tables: request, verbs, snapshot, stage, ranking, reason, answer."""
    world.prepare()
    world.label(*world.cold)
    world.train("m")
    files, root = set[str](), str(Path(strategies.__file__).parents[1])

    def note(frame: Any, *_: Any) -> None:
        files.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        world.ask(client_id="ann")
    finally:
        sys.setprofile(None)
    rooms = ("strategies", "server", "infers", "trainers", "bundle_configs")
    crossed = {file for file in files if file.startswith(tuple(f"{root}/{room}/" for room in rooms))}
    assert 0 < len(crossed) <= 8, crossed


def test_a_removed_label_brings_no_cold_start_back(world: Any) -> None:
    world.prepare()
    world.label(*world.cold)
    world.train("m")
    world.store.remove_label(world.cold[0], "final")
    world.store.refresh()
    assert len(world.pool.labelled) < world.budget and world.stage == "active"


@pytest.mark.parametrize(
    ("labelled", "last", "due"),
    [
        (3, None, False),  # before the cold start's budget of 4
        (4, None, True),
        (4, 2, True),  # a training that somebody started early does not count
        (5, 4, False),
        (6, 4, True),  # batch_size 2 more
        (9, 8, False),
    ],
)
def test_automatic_rounds(labelled: int, last: int | None, due: bool) -> None:
    settings = Settings(cold_start_budget=4, batch_size=2, auto_train=True)
    assert training_due(settings, labelled, last) is due
    assert not training_due(replace(settings, auto_train=False), labelled, last)
