"""Plans made anew after each label, from heads that are written straight into the real database."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle_configs import Bundle
from pool.database.handouts import Client
from pool.database.plans import Plan
from pool.database.state import State
from server.pages.past import history_of
from strategies.context import Context
from strategies.planning.each_label import PICKS
from strategies.planning.planner import Planner
from strategies.planning.sources import NotReadyError, to_threshold
from strategies.refresh.each_label import due_each_label
from strategies.refresh.pipeline import Refresh, due_methods, missing
from strategies.selectors.registry import METHODS
from strategies.settings import Settings
from strategies.snapshot import PoolSnapshot
from strategies.strategy import all_strategies
from tests.strategies.planning.test_plans import Listed

EACH = ["foreground_cover", "foreground_uherding", "uherding"]
FEATURES = np.random.default_rng(8).normal(size=(12, 5))
EMPTY = ("i01", "i04", "i07", "i10")


@pytest.fixture
def learning(world: Any) -> Any:
    """Return the world with `auto` set to foreground_cover, embeddings and a map."""
    use(world, strategies="auto", cold_start_method="foreground_cover", active_method="foreground_cover")
    rows = [(image, "1", vector) for image, vector in zip(world.images, FEATURES, strict=True)]
    world.context.state.embeddings.add(world.context.encoder_key, rows)
    world.prepare()
    return world


def use(world: Any, **settings: Any) -> None:
    world.context = replace(world.context, settings=replace(world.context.settings, **settings))
    world.strategies = all_strategies(world.context)


def fit(world: Any, fingerprint: str, n_labels: int | None = None) -> None:
    """Add a head that knows the present labels, and its scores; those of EMPTY show nothing."""
    labelled, state = world.pool.labelled, world.context.state
    n_labels = len(labelled) if n_labels is None else n_labels
    head = state.heads.add("grid:1", fingerprint, n_labels, b"weights", {"labels": {"lungs": n_labels}})
    state.scores.add_entropies(head.source, dict.fromkeys(world.images, 0.2))
    shown = {image: 0.05 if image in EMPTY else 0.97 for image in world.images}
    shown |= {image: float(image not in EMPTY) for image in labelled}
    state.scores.add_measures(head.source, {image: {"foreground": p} for image, p in shown.items()})


def replan(world: Any) -> list[str]:
    names = due_each_label(world.context, world.pool)
    for name in names:
        world.plan(name)
    assert due_each_label(world.context, world.pool) == []
    return names


def newest(world: Any, name: str = "foreground_cover") -> Plan:
    _, plan = world.context.newest_plan(METHODS[name])
    return plan


def test_before_the_first_head_it_plans_and_says_that_nothing_is_learnt(learning: Any) -> None:
    assert learning.ask("auto")["selection"]["provisional"], "not refused before the first plan"
    assert "each_label" in missing(learning.context, learning.store)
    assert replan(learning) == ["foreground_cover"]
    block = learning.ask("auto")["selection"]
    assert (block["method"], block["stage"], block["head"]) == ("foreground_cover", "cold_start", None)
    assert block["reason"].startswith("Typical of the images that most likely show something (0.50)")
    assert "(no label is learnt from yet)" in block["reason"] and "(rank " in block["reason"]
    assert to_threshold(learning.context, learning.pool) == [], "no threshold is needed"


def test_each_head_brings_another_plan_and_leases_stay(learning: Any) -> None:
    replan(learning)
    held = [learning.ask("auto", client_id=name)["id"] for name in ("ann", "bob")]
    learning.label(held[0])
    fit(learning, "f1")
    assert replan(learning) == ["foreground_cover"]
    first = newest(learning)
    assert first.details["head"] == 1 and first.details["n_labelled"] == 1
    images = [pick["image"] for pick in first.picks]
    assert not {*held} & {*images}, "what is labelled or in somebody's hands is in no plan"
    assert not {*EMPTY} & {*images[: 12 - len(EMPTY) - 2]}, "empty images come last"
    third = learning.ask("auto", client_id="cat")
    assert third["id"] == images[0] and third["selection"]["head"] == 1
    if held[0] not in EMPTY:
        assert third["selection"]["reason"].startswith("Likely shows lungs (0.97), unlike the 1 labelled")
    learning.label(held[1])
    fit(learning, "f2")
    replan(learning)
    second = newest(learning)
    assert second.id != first.id and second.details["head"] == 2
    assert third["id"] not in [pick["image"] for pick in second.picks]
    open_now = {h.image for h in learning.context.state.handouts.open()}
    assert open_now == {third["id"]}, "the lease of the former plan goes on"
    assert learning.ask("auto", client_id="cat", resume=True)["id"] == third["id"]


def test_the_ledger_has_each_plan_with_its_reasons(learning: Any) -> None:
    learning.label("i00")
    fit(learning, "f1")
    replan(learning)
    entry = [e for e in learning.context.state.ledger.entries() if e["event"] == "plan"][-1]["details"]
    assert entry["key"].startswith("foreground_cover|") and entry["key"].endswith("|instant|f1")
    reasons = [pick["reason"] for pick in entry["picks"]]
    assert reasons[0] == "Likely shows lungs (0.97), unlike the 1 labelled."
    assert any(reason.startswith("Shows lungs with a chance of 0.05") for reason in reasons[-len(EMPTY) :])


def test_the_history_of_an_image_names_what_it_was_compared_with(learning: Any) -> None:
    learning.label("i00")
    fit(learning, "f1")
    replan(learning)
    first, second = (learning.ask("auto", client_id=name)["id"] for name in ("ann", "bob"))
    event = next(
        e for e in history_of(learning.context, learning.pool, second)["events"] if e["event"] == "handout"
    )
    assert event["rule"]["name"] == "foreground_cover" and event["reason"].startswith("Likely shows lungs")
    assert {near["image"] for near in event["neighbours"]} == {"i00", first}


def test_a_label_that_no_head_knows_yet_brings_a_plan_that_says_so(learning: Any) -> None:
    learning.label("i00")
    fit(learning, "f1")
    replan(learning)
    learning.label("i02")
    assert replan(learning) == ["foreground_cover"], "also where the head cannot be fitted"
    assert "(learnt from 1 labels so far)" in newest(learning).picks[0]["reason"]
    fit(learning, "f2")
    assert replan(learning) == ["foreground_cover"]


def test_a_head_whose_scores_are_missing_is_waited_for(learning: Any) -> None:
    learning.label("i00")
    fit(learning, "f1")
    replan(learning)
    before = newest(learning)
    learning.label("i02")
    learning.context.state.heads.add("grid:1", "f2", 2, b"", {})
    assert due_each_label(learning.context, learning.pool) == []
    with pytest.raises(NotReadyError, match="foreground of 10 images is still being computed"):
        learning.plan("foreground_cover")
    assert newest(learning) == before and learning.ask("auto")["selection"]["head"] == 1


def test_a_plan_without_free_images_is_made_again(learning: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.planning.each_label.PICKS", 2)
    replan(learning)
    for name in ("ann", "bob"):
        learning.ask("auto", client_id=name)
    assert replan(learning) == ["foreground_cover"] and len(newest(learning).picks) == 2
    learning.context.state.handouts.skip_all(
        [image for image in learning.pool.unlabelled if learning.pool.is_free(image)], Client("lead"), ""
    )
    assert due_each_label(learning.context, learning.pool) == [], "there is nothing left to plan"


@pytest.mark.parametrize("name", EACH)
def test_every_such_method_is_planned_by_a_refresh(learning: Any, name: str) -> None:
    use(learning, strategies="auto," + name, cold_start_method=name, active_method="active")
    learning.label("i00", "i01")
    fit(learning, "f1")
    done = Refresh(learning.context, Bundle("cxr_lungs"))({}, learning.store)
    assert "each_label" in done["steps"] and "each_label" not in missing(learning.context, learning.store)
    assert due_methods(learning.context, learning.pool) == []
    block = learning.ask(name)["selection"]
    assert (block["method"], block["rank"], block["head"]) == (name, 1, 1)
    learning.label(*learning.pool.unlabelled[: learning.budget - 2])
    fit(learning, "f2")
    replan(learning)  # and goes on while `auto` waits for the first model
    assert learning.stage == "bridging" and learning.ask("auto")["selection"]["method"] == name


def test_labels_count_for_their_patients(learning: Any) -> None:
    learning.context = replace(
        learning.context,
        groups=replace(
            learning.context.groups,
            names={image: f"patient {n // 4}" for n, image in enumerate(learning.images)},
        ),
    )
    learning.label("i00")
    fit(learning, "f1")
    replan(learning)
    picks = [pick["image"] for pick in newest(learning).picks]
    assert {int(image[1:]) // 4 for image in picks[:2]} == {1, 2}, "patient 0 has given one"


def test_the_components_are_computed_once(learning: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    replan(learning)
    monkeypatch.setattr(learning.context.state.embeddings, "vectors", None)
    learning.label("i00")
    assert replan(learning) == ["foreground_cover"]


def test_a_plan_of_a_large_pool_is_made_in_seconds(tmp_path: Path) -> None:
    images = [f"i{n:05d}" for n in range(10_000)]
    state, rng = State(tmp_path, migrate=True), np.random.default_rng(1)
    context = Context(state, Settings(cold_start_method="foreground_cover"), "descriptor")
    state.maps.add(context.layout_key, dict.fromkeys(images, "1"), rng.normal(size=(len(images), 2)))
    state.embeddings.add(context.encoder_key, [(i, "1", rng.normal(size=16)) for i in images])
    head = state.heads.add("grid:1", "f", 1, b"", {})
    state.scores.add_measures(
        head.source, {i: {"foreground": p} for i, p in zip(images, rng.random(10_000), strict=True)}
    )
    pool = PoolSnapshot(Listed(images, images[:1]), {})  # type: ignore[arg-type]
    planner = Planner(context)
    planner.choose(pool, planner.series("foreground_cover"), 1)  # compiles, and computes the components
    started = time.process_time()
    plan = planner.make(pool, planner.series("foreground_cover"))
    assert len(plan.picks) == PICKS and time.process_time() - started < 5
