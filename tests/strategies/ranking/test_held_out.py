"""Marked images: they come next, or are labelled but never trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pool.database.duplicates import Duplicate
from pool.database.handouts import Client
from pool.database.marks import HELD_OUT, NEXT
from pool.groups import read_groups
from strategies.ranking.held_out import DRAWN, hold_out, to_hold_out
from strategies.refresh.validation import to_validate
from strategies.selectors.registry import METHODS
from strategies.strategy import all_strategies

LEAD = Client("lead")


def with_budget(world: Any, budget: int, groups: str = "") -> None:
    settings = replace(world.context.settings, validation_budget=budget)
    world.context = replace(world.context, settings=settings, groups=read_groups(groups))
    world.strategies = all_strategies(world.context)
    hold_out(world.context, world.pool)


def test_what_a_lead_wants_next_comes_next_in_that_order(world: Any) -> None:
    world.prepare()
    wanted = [image for image in reversed(world.images) if image not in world.cold][:2]
    world.context.state.marks.put(NEXT, wanted, "lead", "bone implants")
    first = world.ask(client_id="ann")
    assert first["id"] == wanted[0] and first["selection"]["role"] == "marked"
    assert first["selection"]["reason"] == "lead marked it to come next (bone implants)."
    assert world.ask(client_id="bob")["id"] == wanted[1]
    assert world.ask(client_id="eve")["id"] == world.cold[0]
    assert world.ask("random", client_id="fred")["selection"]["role"] == "random"


def test_a_mark_taken_back_has_no_effect(world: Any) -> None:
    world.prepare()
    world.context.state.marks.put(NEXT, world.images, "lead")
    assert world.context.state.marks.remove(world.images, "lead") == len(world.images)
    assert world.ask()["id"] == world.cold[0]
    events = [row["event"] for row in world.context.state.ledger.entries()]
    assert events.count("mark") == events.count("unmark") == len(world.images)


def test_as_many_as_wanted_are_drawn_once(world: Any) -> None:
    with_budget(world, 3)
    drawn = [mark for mark in world.context.state.marks.all() if mark.kind == HELD_OUT]
    assert len(drawn) == 3 and {mark.client for mark in drawn} == {DRAWN}
    assert to_hold_out(world.context, world.pool) == []
    order = np.random.default_rng(42).permutation(len(world.images))
    assert [mark.image for mark in drawn] == [world.images[row] for row in order[:3]]


def test_never_more_than_half_of_the_pool_is_drawn(world: Any) -> None:
    with_budget(world, 100)
    assert len(world.pool.held_out) == len(world.images) // 2


def test_not_even_of_patients_with_many_images(world: Any) -> None:
    with_budget(world, 3, groups="^(i)")  # one patient, who is the whole pool
    assert not world.pool.held_out
    with_budget(world, 3, groups="^(i[01])")  # i00 to i09, and two images of another
    assert world.pool.held_out == {"i10", "i11"}


def test_what_somebody_touched_is_not_drawn(world: Any) -> None:
    world.prepare()
    world.label(*world.images[:3])
    leased = world.ask(client_id="ann")["id"]
    world.context.state.handouts.skip(world.pool.unlabelled[-1], LEAD, "")
    with_budget(world, 6)
    assert not world.pool.held_out & {*world.images[:3], leased, world.images[-1]}


def test_held_out_images_come_after_the_cold_start_and_are_no_candidates(world: Any) -> None:
    with_budget(world, 3)
    world.prepare()
    held = [mark.image for mark in world.context.state.marks.all()]
    assert not set(world.cold) & set(held), "they take no part in selection"
    world.label(*world.cold)
    assert world.stage == "bridging"
    for image in held:
        given = world.ask()
        assert given["id"] == image and given["selection"]["role"] == "validation"
        assert given["selection"]["reason"].startswith("Held out for validation (drawn at random, seed 42)")
        world.label(image)
    assert world.ask()["selection"]["role"] == "farthest"
    assert world.pool.labelled == sorted(world.cold), "and models are not trained on them"
    assert world.pool.count_labelled() == len(world.cold)


def test_labels_of_held_out_images_do_not_count_towards_the_cold_start(world: Any) -> None:
    world.prepare()
    world.context.state.marks.put(HELD_OUT, world.images[:4], "lead")
    world.label(*world.images[:4])
    assert world.stage == "cold_start" and world.pool.count_labelled() == 0


def test_active_picks_none_of_them_either(world: Any) -> None:
    world.prepare()
    world.label(*world.cold)
    held = world.pool.unlabelled[-3:]  # the most uncertain
    world.context.state.marks.put(HELD_OUT, held, "lead")
    world.train("m1")
    plan = world.context.newest_plan(METHODS["active"], 0.3)[1]
    assert not {pick["image"] for pick in plan.picks} & set(held)
    world.label(*held)
    assert world.ask("active")["id"] not in held


def test_a_pool_is_done_only_when_they_are_labelled_too(world: Any) -> None:
    world.prepare()
    held = world.images[5]
    world.context.state.marks.put(HELD_OUT, [held], "lead")
    world.label(*(image for image in world.images if image != held))
    assert world.stage != "done" and world.ask()["id"] == held
    world.label(held)
    assert world.stage == "done" and world.ask() == {}
    assert world.pool.count_free() == world.pool.count_unlabelled() == 0


def test_a_skipped_one_is_handed_out_to_nobody(world: Any) -> None:
    world.prepare()
    held = world.images[5]
    world.context.state.marks.put(HELD_OUT, [held], "lead")
    world.context.state.handouts.skip_all([held], LEAD, "no chest")
    world.label(*(image for image in world.images if image != held))
    assert world.stage == "done" and world.ask() == {}


def test_a_copy_of_a_labelled_image_is_not_drawn(world: Any) -> None:
    world.label(*world.images[:6])
    copies = [Duplicate(world.images[i + 6], world.images[i], 0, exact=True) for i in range(3)]
    world.context.state.duplicates.add([], copies)
    with_budget(world, 6)
    assert world.pool.held_out == set(world.images[9:])


def test_of_drawn_copies_one_counts(world: Any) -> None:
    a, b, *rest = world.images
    world.context.state.duplicates.add([], [Duplicate(b, a, 0, exact=True)])
    world.context.state.marks.put(HELD_OUT, [a, b], "lead")
    with_budget(world, 3)
    assert len(world.pool.held_out) == 4 and len(world.pool.validation_open) == 3
    assert to_hold_out(world.context, world.pool) == []


def test_a_labelled_copy_of_what_is_held_out_is_trained_on_no_more(world: Any) -> None:
    world.prepare()
    a, b = world.images[2], world.images[7]
    world.label(a)
    world.context.state.duplicates.add([], [Duplicate(b, a, 0, exact=True)])
    assert world.pool.labelled == [a] and not world.context.held_out()
    world.context.state.marks.put(HELD_OUT, [b], "lead")
    assert world.context.held_out() == {a, b} and world.pool.labelled == []
    assert world.pool.count_labelled() == 0 and not world.pool.validation_open, "one of them is enough"
    world.train("m", plan=False)
    assert to_validate(world.context, world.pool) == [a]


def test_a_copy_of_a_held_out_image_is_not_trained_on_either(world: Any) -> None:
    world.prepare()
    first, copy = world.images[2], world.images[7]
    world.context.state.duplicates.add([], [Duplicate(copy, first, 0, exact=True)])
    world.context.state.marks.put(HELD_OUT, [copy], "lead")
    assert world.pool.is_left_out(first) and not world.pool.is_left_out(copy)
    world.label(*(i for i in world.images if i not in (first, copy)))
    assert world.ask()["id"] == copy
    world.label(copy)
    assert world.stage == "done"
