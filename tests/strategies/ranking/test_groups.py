"""Plans and rankings of a pool whose images belong to patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from strategies.planning.planner import Planner
from strategies.ranking.rank import farthest_ranking, pool_ranking
from strategies.selectors.registry import METHODS
from strategies.snapshot import PoolSnapshot


def patient(image: str) -> str:
    """Return the patient of an image: i00 to i03 belong to the first, i04 to i07 to the second, and so on."""
    return f"patient {int(image[1:]) // 4}"


class Patients(PoolSnapshot):
    """A pool with four images of each patient."""

    def group_rows(self, images: Sequence[str]) -> list[str]:
        return [patient(image) for image in images]


def pool_of(world: Any, **more: Any) -> PoolSnapshot:
    return Patients(world.store, {}, **more)


def plan(world: Any, name: str, pool: PoolSnapshot, **more: Any) -> Any:
    planner = Planner(world.context)
    return planner.make(pool, planner.series(name, **more))


def patients(picks: Sequence[Any]) -> list[str]:
    return [patient(pick if isinstance(pick, str) else pick["image"]) for pick in picks]


def lay_out(world: Any) -> Any:
    context = world.context
    context.state.maps.add(context.layout_key, dict.fromkeys(world.images, "1"), world.points)
    return context.layout()


def test_the_cold_start_takes_each_patient_once_before_any_twice(world: Any) -> None:
    lay_out(world)
    plan(world, "cold_start", pool_of(world))
    assert len(world.cold) == 4 and len(set(patients(world.cold[:3]))) == 3


@pytest.mark.parametrize("name", ["kmeans_to_budget", "probcover", "farthest_first"])
def test_so_do_the_plans_of_the_methods(world: Any, name: str) -> None:
    lay_out(world)
    vectors = [(image, "1", point) for image, point in zip(world.images, world.points, strict=True)]
    world.context.state.embeddings.add(world.context.encoder_key, vectors)
    picks = plan(world, name, pool_of(world)).picks
    assert len(picks) == 4 and len(set(patients(picks[:3]))) == 3


def test_an_active_round_counts_what_is_in_somebodys_hands_and_no_older_labels(world: Any) -> None:
    world.prepare()
    world.label("i00", "i01", "i04")
    world.train("m", plan=False)
    world.context.state.scores.add_entropies("m", {image: int(image[1:]) / 50 for image in world.images})
    first = plan(world, "active", pool_of(world), alpha=0.0)
    assert [pick["image"] for pick in first.picks[:4]] == ["i11", "i07", "i03", "i10"]
    second = plan(world, "active", pool_of(world, leased=frozenset({"i09"})), alpha=0.0)
    assert [pick["image"] for pick in second.picks[:5]] == ["i09", "i07", "i03", "i11", "i06"]


def test_the_farthest_image_is_of_a_patient_that_had_no_turn(world: Any) -> None:
    lay_out(world)
    order = list(farthest_ranking(world.context, pool_of(world), "bridging", "why").images)
    assert sorted(order) == world.images and len(set(patients(order[:3]))) == 3
    world.label("i00")
    pool = pool_of(world, leased=frozenset({"i05"}))
    order = list(farthest_ranking(world.context, pool, "bridging", "why").images)
    assert sorted(order) == sorted({*world.images} - {"i00", "i05"})
    assert set(patients(order[:4])) == {"patient 2"}, "the others come after it"
    gaps = [np.linalg.norm(world.points[[0, 5]] - world.points[int(i[1:])], axis=1).min() for i in order]
    assert gaps[:4] == sorted(gaps[:4], reverse=True) and gaps[4:] == sorted(gaps[4:], reverse=True)
    world.train("m", plan=False)  # knows i00: a new round, in which its patient had no turn
    order = list(farthest_ranking(world.context, pool, "active", "why").images)
    assert set(patients(order[:7])) == {"patient 0", "patient 2"}


def test_random_images_are_of_all_patients_first(world: Any) -> None:
    context = replace(world.context, settings=replace(world.context.settings, seed=3))
    order = list(pool_ranking(context, pool_of(world), METHODS["random"], "preparing").images)
    assert sorted(order) == world.images
    assert all(len(set(patients(order[at : at + 3]))) == 3 for at in range(0, 12, 3))
