"""A pool that grows, shrinks and changes while being labelled: the real refresh on a real folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_configs import Bundle
from infers.encoders.descriptor import Descriptor
from pool.database.maps import Layout
from pool.errors import PoolError
from strategies.context import Context
from strategies.ranking.rank import farthest_ranking
from strategies.refresh.growth import unmapped
from strategies.refresh.pipeline import Refresh
from strategies.refresh.projection import place
from strategies.selectors.registry import METHODS
from strategies.stages import status
from strategies.strategy import all_strategies

BUNDLE = Bundle("cxr_lungs")


def write(folder: Path, *names: str, like: str | None = None) -> None:
    """Write an image per name; one `like` another differs from it by a few grey levels."""
    for name in names:
        chance = np.random.default_rng([ord(letter) for letter in name])
        if like:
            pixels = np.array(Image.open(folder / f"{like}.png")).astype(int) + chance.integers(
                0, 2, (32, 32)
            )
        else:
            coarse = chance.integers(0, 255, (4, 4)).astype(np.uint8)
            pixels = np.array(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")


class Growing:
    """A world with a changing folder whose refresh is run by hand."""

    def __init__(self, world: Any, folder: Path) -> None:
        self.world, self.folder = world, folder
        self._use(replace(world.context, fixed_encoder_key=Descriptor.key))
        self.settings(duplicates="off")  # images that are alike show where the map puts them

    def _use(self, context: Context) -> None:
        self.world.context, self.world.strategies = context, all_strategies(context)

    def refresh(self) -> list[str]:
        self.world.store.refresh()  # the watcher is off
        steps: list[str] = Refresh(self.world.context, BUNDLE)({}, self.world.store)["steps"]
        return steps

    def add(self, *names: str, like: str | None = None) -> list[str]:
        write(self.folder, *names, like=like)
        return self.refresh()

    def remove(self, *names: str) -> list[str]:
        for name in names:
            (self.folder / f"{name}.png").unlink()
        return self.refresh()

    @property
    def layout(self) -> Layout:
        found = self.world.context.layout()
        assert found is not None
        return found

    def at(self, image: str) -> np.ndarray:
        point: np.ndarray = self.layout.points[self.layout.images.index(image)]
        return point

    def ledger(self, event: str) -> list[dict[str, Any]]:
        return [e["details"] for e in self.world.context.state.ledger.entries() if e["event"] == event]

    def settings(self, **more: Any) -> None:
        context = self.world.context
        self._use(replace(context, settings=replace(context.settings, **more)))


@pytest.fixture
def pool(world: Any, tmp_path: Path) -> Growing:
    """Return a pool of twelve images, embedded, mapped and planned."""
    found = Growing(world, tmp_path / "studies")
    found.refresh()
    return found


def test_new_images_are_placed_and_nothing_moves(pool: Growing) -> None:
    before, plan = pool.layout, pool.world.cold
    assert before.images == pool.world.images and before.fitted == 12
    assert pool.add("a", "i05b", like="i05") == ["embed"]
    after = pool.layout
    assert after.id == before.id and after.images == sorted([*before.images, "a", "i05b"])
    np.testing.assert_array_equal(after.points[after.laid_out], before.points)
    wide = np.ptp(before.points, axis=0).max()
    assert np.linalg.norm(pool.at("i05b") - pool.at("i05")) < 0.1 * wide, "beside what it is like"
    assert pool.world.cold == plan
    assert [entry["reason"] for entry in pool.ledger("map")] == ["first"]
    assert pool.ledger("placed") == [{"layout": before.id, "images": 2}]
    assert status(pool.world.context, pool.world.pool)["map"] == {"images": 14, "placed": 2}
    assert pool.refresh() == [], "and then there is nothing to do"


def test_a_map_that_has_grown_too_far_is_laid_out_afresh(pool: Growing) -> None:
    before, plan = pool.layout, pool.world.cold
    pool.add("a", "b", "c")  # 3 of 12 is not past 0.25
    assert pool.layout.id == before.id
    pool.add("d")
    after = pool.layout
    assert after.id != before.id and after.fitted == 16 == len(after.images)
    assert [entry["reason"] for entry in pool.ledger("map")] == ["first", "grown past 0.25 (4 of 12)"]
    assert pool.ledger("map")[-1]["images"] == 16 and len(pool.ledger("placed")) == 1
    assert pool.world.cold == plan, "made once for the pool"
    pool.add("e", "f", "g", "h")  # 4 of 16
    assert pool.layout.id == after.id and pool.layout.fitted == 16


@pytest.mark.parametrize(("growth", "maps"), [(0.0, 3), (10.0, 1)])
def test_the_share_is_a_setting(pool: Growing, growth: float, maps: int) -> None:
    pool.settings(map_growth=growth)
    pool.add("a")
    pool.add(*(f"b{n}" for n in range(20)))
    assert len(pool.ledger("map")) == maps and len(pool.layout.images) == 33


@pytest.mark.parametrize("projection", ["pca", "none"])
def test_other_maps_grow_too(pool: Growing, projection: str) -> None:
    pool.settings(projection=projection)
    pool.refresh()
    before = pool.layout
    pool.add("i05b", like="i05")
    np.testing.assert_array_equal(pool.layout.points[pool.layout.laid_out], before.points)
    gaps = np.linalg.norm(before.points - pool.at("i05b"), axis=1)
    assert before.images[int(gaps.argmin())] == "i05"


def test_a_changed_file_is_embedded_and_placed_again(pool: Growing) -> None:
    before, others = pool.layout, [n for n, image in enumerate(pool.world.images) if image != "i05"]
    old = pool.world.context.state.embeddings.vectors(Descriptor.key, ["i05"])
    for content in ("something else", "and again"):  # first it was laid out, then it was placed
        was = pool.at("i05")
        write(pool.folder, content)
        (pool.folder / f"{content}.png").rename(pool.folder / "i05.png")
        assert pool.refresh() == ["embed"]
        after = pool.layout
        assert (pool.world.context.state.embeddings.vectors(Descriptor.key, ["i05"]) != old).any()
        assert after.id == before.id and after.images == before.images and after.fitted == 11
        np.testing.assert_array_equal(after.points[others], before.points[others])
        assert (pool.at("i05") != was).any()
        ids, settings = [before.images[n] for n in others], pool.world.context.settings
        among, new = (
            pool.world.context.state.embeddings.vectors(Descriptor.key, part) for part in (ids, ["i05"])
        )
        expected = place(among, before.points[others], new, "tsne", settings.perplexity, settings.seed)
        np.testing.assert_array_equal(pool.at("i05"), expected[0], "by the others, not by its older self")
        assert unmapped(pool.world.context, pool.world.pool) == []
    assert len(pool.ledger("placed")) == 2


def test_a_file_that_became_unreadable_is_not_placed(pool: Growing) -> None:
    before = pool.layout
    (pool.folder / "i05.png").write_bytes(b"no picture")
    assert pool.refresh() == ["embed"]
    assert set(pool.world.pool.failed) == {"i05"} and pool.layout is before
    offered = {pool.world.ask(client_id=str(n))["id"] for n in range(11)}
    assert offered == set(pool.world.images) - {"i05"}


def test_a_removed_image_leaves_the_plan_and_comes_back(pool: Growing) -> None:
    gone = pool.world.cold[0]
    kept = (pool.folder / f"{gone}.png").read_bytes()
    assert pool.remove(gone) == [], "the map and the plan stay"
    ranks = [pool.world.ask(client_id=str(n)) for n in range(11)]
    assert {answer["id"] for answer in ranks} == set(pool.world.images) - {gone}
    assert [answer["id"] for answer in ranks[:3]] == pool.world.cold[1:]
    assert ranks[3]["selection"]["role"] == "farthest", "the plan is used up, and goes on"
    (pool.folder / f"{gone}.png").write_bytes(kept)
    pool.refresh()
    assert pool.world.ask(client_id="late")["id"] == gone


def test_removed_images_leave_the_active_plan(pool: Growing) -> None:
    world = pool.world
    world.label(*world.cold)
    world.train("m")
    plan = world.context.newest_plan(METHODS["active"], 0.3)
    assert plan is not None
    picks = [pick["image"] for pick in plan[1].picks]
    pool.remove(*picks[:2], world.cold[0])
    left = [world.ask("active", client_id=str(n))["id"] for n in range(len(picks) - 2)]
    assert left == picks[2:], "not one of the removed, in the plan's order"
    with pytest.raises(PoolError, match="all remaining images are leased"):
        world.ask("active", client_id="late")


@pytest.mark.parametrize("labelled", [["i00", "i07"], []])
def test_the_farthest_image_is_one_that_the_pool_has(pool: Growing, labelled: list[str]) -> None:
    """Even if more images than are ranked at once have left the pool, all of them farther away."""
    context, before = pool.world.context, pool.layout
    marks = dict(zip(before.images, before.fingerprints, strict=True)) | {f"gone{n}": "1" for n in range(100)}
    points = np.vstack([before.points, 1e4 + np.arange(200.0).reshape(100, 2)])
    context.state.maps.add(context.layout_key, marks, points)
    assert pool.refresh() == [], "an image that left is no reason for another map"
    pool.world.label(*labelled)
    offer = farthest_ranking(context, pool.world.pool, "bridging", "why")
    assert sorted(offer.images) == sorted(set(pool.world.images).difference(labelled))
    if labelled:
        gaps = [min(np.linalg.norm(pool.at(i) - pool.at(a)) for a in labelled) for i in offer.images]
        assert gaps == sorted(gaps, reverse=True)


def test_new_plans_are_made_of_what_the_pool_has(pool: Growing) -> None:
    gone = pool.world.cold[1]
    pool.remove(gone)
    pool.settings(cold_start_budget=11)
    pool.refresh()
    assert sorted(pool.world.cold) == [image for image in pool.world.images if image != gone]


def test_a_pool_that_was_planned_while_it_was_copied(world: Any, tmp_path: Path) -> None:
    """Three files exist when the server starts, thirty when labelling continues."""
    pool = Growing(world, tmp_path / "studies")
    pool.settings(cold_start_budget=8)
    for image in world.images[3:]:
        (pool.folder / f"{image}.png").unlink()
    pool.refresh()
    assert sorted(pool.world.cold) == world.images[:3]
    first = [pool.world.ask(client_id=str(n))["id"] for n in range(2)]
    world.label(*first)
    pool.add(*(f"n{n:02d}" for n in range(27)))
    assert len(pool.layout.images) == 30 == pool.layout.fitted
    assert pool.ledger("map")[-1]["reason"] == "grown past 0.25 (27 of 3)"
    answers = []
    for _ in range(6):
        answers.append(pool.world.ask(client_id="me"))
        world.label(answers[-1]["id"])
    assert {answer["selection"]["stage"] for answer in answers} == {"cold_start"}
    assert answers[0]["id"] == pool.world.cold[2], "the plan's last pick"
    order, rows = [answer["id"] for answer in answers[1:]], pool.layout.images
    for n, image in enumerate(order):  # then the farthest from all labelled, one after the other
        anchors = [pool.at(i) for i in (*first, answers[0]["id"], *order[:n])]
        gaps = np.linalg.norm(pool.layout.points[:, None] - np.array(anchors), axis=-1).min(axis=1)
        assert rows[int(gaps.argmax())] == image
    assert world.stage == "bridging"


def test_a_map_with_too_few_unchanged_images_is_laid_out_afresh(world: Any, tmp_path: Path) -> None:
    """One of five is below the growth limit, but four are too few for t-SNE."""
    pool = Growing(world, tmp_path / "studies")
    pool.settings(map_growth=1.0)
    for image in world.images[5:]:
        (pool.folder / f"{image}.png").unlink()
    pool.refresh()
    write(pool.folder, "other")
    (pool.folder / "other.png").rename(pool.folder / "i02.png")
    assert pool.refresh() == ["embed"]
    assert pool.layout.fitted == 5 and np.isfinite(pool.layout.points).all()
    assert pool.ledger("map")[-1]["reason"] == "4 images are left of those laid out"
