"""Duplicates: detection, and hand-out, counts and reports with one image per set."""

from __future__ import annotations

import logging
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bundle_configs import Bundle
from infers.encoders.descriptor import Descriptor
from pool.database.duplicates import Duplicate
from pool.database.handouts import Client
from pool.groups import read_groups
from strategies.refresh.pipeline import Refresh, missing
from strategies.stages import duplicate_sets, status
from strategies.strategy import all_strategies

SETS = [("i01", "i04", "i07"), ("i02", "i03")]


def use(world: Any, context: Any = None, **settings: Any) -> None:
    context = context or world.context
    world.context = replace(context, settings=replace(context.settings, **settings))
    world.strategies = all_strategies(world.context)


def found(world: Any, *sets: tuple[str, ...]) -> None:
    copies = [Duplicate(copy, first, 3, False) for first, *others in sets for copy in others]
    world.context.state.duplicates.add([], copies)


def refresh(world: Any) -> list[str]:
    world.store.refresh()
    steps: list[str] = Refresh(world.context, Bundle("cxr_lungs"))({}, world.store)["steps"]
    return steps


def free(world: Any) -> list[str]:
    pool = world.pool
    return [image for image in pool.images if pool.is_free(image)]


def sets(world: Any) -> list[list[str]]:
    return duplicate_sets(world.context, world.pool)


# which one ----------------------------------------------------------------------------------------------


def test_the_first_stands_for_its_copies(world: Any) -> None:
    found(world, *SETS)
    assert free(world) == [i for i in world.images if i not in ("i04", "i07", "i03")]


def test_a_labelled_one_stands_and_no_copy_of_it_is_free(world: Any) -> None:
    found(world, *SETS)
    world.label("i04")
    assert not {"i01", "i04", "i07"} & set(free(world))
    world.store.remove_label("i04", "final")
    assert "i01" in free(world), "it counts again"


def test_one_in_somebodys_hands_stands(world: Any) -> None:
    found(world, *SETS)
    handouts, terms = world.context.state.handouts, world.context.terms
    handouts.give(Client("ann"), "p", ["i04"], lambda image: True, lambda image: {}, terms)
    assert not {"i01", "i04", "i07"} & set(free(world))
    handouts.release("i04", Client("ann"))
    assert "i01" in free(world), "given back, it is the first one that stands"


def test_a_skip_holds_for_the_copies_too(world: Any) -> None:
    found(world, *SETS)
    world.ask("random", client_id="ann", skip="i02", reason="rotated")
    assert not {"i02", "i03"} & set(free(world))
    world.ask("random", client_id="ann", unskip="i02")
    assert "i03" not in free(world)


def test_when_the_first_leaves_the_pool_or_cannot_be_read_another_stands(world: Any) -> None:
    found(world, *SETS)
    world.context.state.failures.add("i01", "1", "broken")
    assert "i04" in free(world) and "i07" not in free(world)
    world.store.remove_image("i02")
    assert "i03" in free(world) and sets(world) == [["i01", "i04", "i07"]]


def test_counts_are_those_of_the_lists_whatever_happened(world: Any) -> None:
    found(world, *SETS)
    chance = random.Random(3)
    for _ in range(60):
        image, what = chance.choice(world.images), chance.choice(["label", "ask", "skip", "fail", "unlabel"])
        try:
            if what == "label":
                world.label(image)
            elif what == "unlabel" and world.store.is_labelled(image):
                world.store.remove_label(image, "final")
            elif what == "ask":
                world.ask("random", client_id=chance.choice("abc"))
            elif what == "skip":
                world.ask("random", client_id="a", skip=image)
            elif what == "fail" and chance.random() < 0.2:
                world.context.state.failures.add(image, "1", "broken")
        except Exception as error:  # nothing free, or in other hands: what counts is what the pool says
            assert getattr(error, "status", 0) == 409, error
        pool = world.pool
        assert pool.count_free() == sum(pool.is_free(i) for i in pool.images)
        assert pool.has_free() == (pool.count_free() > 0)
        assert pool.count_unlabelled() == len(pool.unlabelled)
        said = status(world.context, pool)
        known = sum(not pool.store.is_labelled(i) for i in pool.failed)
        assert said["images"] == said["labelled"] + said["unlabelled"] + said["left_out"] + known


# through the loop ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["auto", "random", "cold_start", "active"])
def test_a_pool_is_done_without_the_copies(world: Any, strategy: str) -> None:
    found(world, *SETS)
    world.prepare()
    assert not {"i03", "i04", "i07"} & set(world.cold), "no candidates of the plan"
    world.label("i07", *world.cold[:3])  # the third copy is enough
    world.train("m")
    while answer := world.ask(strategy):
        world.label(answer["id"])
    done = set(world.pool.labelled)
    assert len(done & {"i02", "i03"}) == 1 and world.stage == "done"
    assert done & {"i01", "i04", "i07"} <= {"i07", *world.cold[:3]}


@pytest.mark.parametrize("choice", ["report", "off"])
def test_copies_are_handed_out_when_they_are_only_reported(world: Any, choice: str) -> None:
    found(world, *SETS)
    use(world, duplicates=choice)
    assert free(world) == world.images
    said = status(world.context, world.pool)
    assert (said["duplicate_sets"], said["left_out"]) == (2 if choice == "report" else 0, 0)


# how they are found -------------------------------------------------------------------------------------


@pytest.fixture
def studies(world: Any, tmp_path: Path) -> Path:
    """Return the world's folder; the context uses the descriptor, so that refresh runs."""
    use(world, replace(world.context, fixed_encoder_key=Descriptor.key), projection="pca")
    return tmp_path / "studies"


def test_refresh_finds_copies_and_the_ledger_has_them(world: Any, studies: Path) -> None:
    shutil.copy(studies / "i05.png", studies / "a_copy.png")
    Image.open(studies / "i06.png").save(studies / "i06_again.jpg", quality=95)
    assert refresh(world) == ["embed", "duplicates"]
    assert sets(world) == [["a_copy", "i05"], ["i06", "i06_again"]]
    told = {
        e["image"]: e["details"] for e in world.context.state.ledger.entries() if e["event"] == "duplicate"
    }
    assert told["i05"] == {"of": "a_copy", "exact": True, "differing_bits": 0}
    assert told["i06_again"]["of"] == "i06" and not told["i06_again"]["exact"]
    assert missing(world.context, world.store) == []
    layout = world.context.layout()
    assert "i05" not in layout.images and "a_copy" in layout.images


def test_a_copy_that_comes_later_is_found_and_one_that_changes_is_none(world: Any, studies: Path) -> None:
    refresh(world)
    assert sets(world) == []
    shutil.copy(studies / "i05.png", studies / "new.png")
    refresh(world)
    assert sets(world) == [["i05", "new"]] and "new" not in free(world)
    Image.effect_noise((32, 32), 60).save(studies / "i05.png")
    refresh(world)
    assert sets(world) == [] and "new" in free(world)


def test_prints_are_made_of_a_pool_that_was_embedded_before(world: Any, studies: Path) -> None:
    shutil.copy(studies / "i05.png", studies / "new.png")
    use(world, duplicates="off")
    refresh(world)
    assert sets(world) == [] and missing(world.context, world.store) == []
    use(world, duplicates="leave_out")
    assert missing(world.context, world.store) == ["duplicates"]
    refresh(world)
    assert sets(world) == [["i05", "new"]] and missing(world.context, world.store) == []


def test_a_search_that_was_killed_goes_on(world: Any, studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(studies / "i05.png", studies / "new.png")
    monkeypatch.setattr("pool.imaging.prints._BATCH_IMAGES", 4)
    keep, left = world.context.state.duplicates.add, [2]

    def dying(*args: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        keep(*args)

    monkeypatch.setattr(world.context.state.duplicates, "add", dying)
    with pytest.raises(KeyboardInterrupt):
        refresh(world)
    assert len(world.context.state.duplicates.uncompared()) == 13 - 8
    monkeypatch.setattr(world.context.state.duplicates, "add", keep)
    refresh(world)
    assert sets(world) == [["i05", "new"]] and world.context.state.duplicates.uncompared() == []


def test_copies_in_two_groups_are_an_error_in_the_data_worth_seeing(
    world: Any, studies: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(studies / "i05.png", studies / "x9_new.png")
    use(world, replace(world.context, groups=read_groups(r"^(..)")))
    with caplog.at_level(logging.WARNING):
        refresh(world)
    assert "x9_new looks like a copy of i05" in caplog.text and sets(world) == [["i05", "x9_new"]]
    told = [e["details"] for e in world.context.state.ledger.entries() if e["event"] == "duplicate"]
    assert told[0]["groups"] == ["group:i0", "group:x9"]


def test_the_pool_says_the_group_of_each_image(world: Any) -> None:
    assert world.pool.group_rows(world.images) is None
    use(world, replace(world.context, groups=read_groups(r"^(i0)")))
    assert world.pool.group_rows(["i01", "i02", "i10"]) == ["group:i0", "group:i0", "image:i10"]
