"""Plans of the cold start and of active rounds, with real state and selectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool.database.maps import Layout
from pool.database.models import Model
from pool.database.plans import Plan
from pool.database.state import State
from strategies import selectors
from strategies.context import Context
from strategies.planning.planner import Planner
from strategies.planning.sources import unscored
from strategies.selectors.registry import Method
from strategies.settings import Settings
from strategies.snapshot import PoolSnapshot

COUNT = 60
IMAGES = [f"i{n:03d}" for n in range(COUNT)]
POINTS = np.random.default_rng(1).normal(size=(COUNT, 2)) * [3, 1]
VALUES = dict(zip(IMAGES, np.random.default_rng(2).uniform(0.1, 0.6, COUNT).tolist(), strict=True))
LABELLED = IMAGES[5:40:7]


class Listed:
    """A datastore made of two lists."""

    unchecked_labels: frozenset[str] = frozenset()
    unedited_labels: frozenset[str] = frozenset()

    def __init__(self, images: list[str], labelled: list[str]) -> None:
        self._images, self._labelled = images, sorted(labelled)

    def list_images(self) -> list[str]:
        return self._images

    def get_labeled_images(self) -> list[str]:
        return self._labelled

    def has_image(self, image_id: str) -> bool:
        return image_id in self._images

    def is_labelled(self, image_id: str) -> bool:
        return image_id in self._labelled

    def count_labelled(self) -> int:
        return len(self._labelled)


def pool_of(labelled: list[str], images: list[str] = IMAGES, **more: Any) -> PoolSnapshot:
    return PoolSnapshot(Listed(images, labelled), **{"failed": {}, **more})  # type: ignore[arg-type]


def make_context(folder: Path, **settings: object) -> Context:
    state = State(folder / "state", migrate=True)
    return Context(state, Settings(**settings), "descriptor")  # type: ignore[arg-type]


def with_map(context: Context, points: np.ndarray = POINTS) -> Layout:
    context.state.maps.add(context.layout_key, dict.fromkeys(IMAGES, "1"), points)
    layout = context.layout()
    assert layout is not None
    return layout


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return make_context(tmp_path, cold_start_budget=6, batch_size=3)


@pytest.fixture
def layout(context: Context) -> Layout:
    return with_map(context)


def with_model(context: Context, values: dict[str, float]) -> Model:
    context.state.models.add("m", LABELLED, {})
    context.state.scores.add_entropies("m", {i: v for i, v in values.items() if i not in LABELLED})
    return context.state.models.all()[0]


def make(context: Context, pool: PoolSnapshot, name: str, alpha: float | None = None) -> Plan:
    planner = Planner(context)
    return planner.make(pool, planner.series(name, alpha))


def grows(method: Method) -> bool:
    return method.grows


def cold_plan(context: Context, layout: Layout, pool: PoolSnapshot) -> Plan:
    return make(context, pool, "cold_start")


def greedy(
    alpha: float, start: list[str], values: dict[str, float], given: list[str], count: int
) -> list[str]:
    """Compute the active step (arXiv 2601.18532, equations (7)-(10)); `given` were picked before."""
    point = dict(zip(IMAGES, POINTS, strict=True))
    pool = [i for i in IMAGES if i not in start and i in values]
    low, high = min(values[i] for i in pool), max(values[i] for i in pool)
    widest = max(float(np.linalg.norm(point[a] - point[b])) for a in pool for b in pool)
    picked = list(given)
    while len(picked) < len(given) + count and len(picked) < len(pool):
        best, best_score = "", -1.0
        for i in (i for i in pool if i not in picked):
            near = min(float(np.linalg.norm(point[i] - point[s])) for s in [*start, *picked])
            entropy = (values[i] - low) / (high - low + 1e-8)
            score = alpha * near / (widest + 1e-8) + (1 - alpha) * entropy if picked else values[i]
            if score > best_score:
                best, best_score = i, score
        picked.append(best)
    return picked[len(given) :]


def test_cold_plan_is_that_of_the_selectors_with_its_evidence(context: Context, layout: Layout) -> None:
    plan = cold_plan(context, layout, pool_of([]))
    clusters = selectors.cluster_by_silhouette(POINTS, 6, 42)
    chosen = selectors.cold_start(POINTS, clusters.labels, 6)
    assert plan.kind == "cold_start" and plan.layout == layout.id
    assert [p["image"] for p in plan.picks] == [IMAGES[row] for row in chosen.picks]
    assert [p["role"] for p in plan.picks] == chosen.evidence["role"].tolist()
    assert plan.details["k"] == clusters.k and sum(plan.details["sizes"]) == COUNT


def test_cold_plan_notes_a_map_without_clear_clusters_only_where_that_can_be_said(tmp_path: Path) -> None:
    notes = []
    rng = np.random.default_rng(3)
    groups = rng.normal(size=(COUNT, 2)) + np.repeat(np.array([[0, 0], [99, 0], [0, 99]]), 20, axis=0)
    for name, points in (
        ("even", rng.uniform(size=(COUNT, 2))),
        ("grouped", groups),
        ("high", rng.normal(size=(COUNT, 9))),  # no map, so nothing to compare with
    ):
        context = make_context(tmp_path / name, cold_start_budget=4)
        layout = with_map(context, points=points)
        notes.append(cold_plan(context, layout, pool_of([])).details["map_note"])
    assert notes == ["no clear clusters on this map", None, None]


def test_cold_plan_leaves_images_that_cannot_be_read_out(context: Context, layout: Layout) -> None:
    plan = cold_plan(context, layout, pool_of([], failed=dict.fromkeys(IMAGES[50:], "empty")))
    assert plan.scored == 50
    clusters = selectors.cluster_by_silhouette(POINTS[:50], 6, 42)
    rows = selectors.cold_start(POINTS[:50], clusters.labels, 6).picks
    assert [p["image"] for p in plan.picks] == [IMAGES[row] for row in rows]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_active_plan_is_the_greedy_of_the_paper(context: Context, layout: Layout, alpha: float) -> None:
    with_model(context, VALUES)
    plan = make(context, pool_of(LABELLED), "active", alpha)
    expected = greedy(alpha, LABELLED, VALUES, [], COUNT)
    assert [p["image"] for p in plan.picks] == expected
    assert plan.picks[0]["role"] == "most_uncertain" and plan.picks[1]["role"] == "combined"
    assert plan.picks[0]["raw_entropy"] == pytest.approx(VALUES[expected[0]])
    assert plan.details["labelled"] == sorted(LABELLED) and plan.details["round"] == 1
    assert plan.scored == COUNT - len(LABELLED)


def test_remade_plan_keeps_what_was_handed_out_and_goes_on_from_it(context: Context, layout: Layout) -> None:
    half = {i: VALUES[i] for i in IMAGES[::2]}
    with_model(context, half)
    first = make(context, pool_of(LABELLED), "active", 0.3)
    given = [first.picks[0]["image"], first.picks[1]["image"]]
    with_model(context, VALUES)
    leased = pool_of(LABELLED, leased=frozenset(given))
    again = make(context, leased, "active", 0.3)
    assert again.picks[:2] == first.picks[:2], "with the evidence they were given with"
    rest = [p["image"] for p in again.picks[2:]]
    assert rest == greedy(0.3, LABELLED, VALUES, given, COUNT)
    assert {p["role"] for p in again.picks[2:]} == {"combined"}, "no second most uncertain start"


def test_label_that_arrives_in_a_round_counts_as_picked_and_changes_no_scale(
    context: Context, layout: Layout
) -> None:
    with_model(context, VALUES)
    first = make(context, pool_of(LABELLED), "active", 0.3)
    top = first.picks[0]["image"]  # the largest entropy: without it the scale would be another
    again = make(context, pool_of([*LABELLED, top]), "active", 0.3)
    assert [p["image"] for p in again.picks] == [p["image"] for p in first.picks]
    assert [p["score"] for p in again.picks] == pytest.approx([p["score"] for p in first.picks])
    assert again.details["labelled"] == sorted(LABELLED) and again.scored == first.scored


def test_label_without_entropy_that_arrives_in_a_round_still_counts_for_the_distance(
    context: Context, layout: Layout
) -> None:
    later = IMAGES[int(np.argmax(POINTS[:, 0]))]
    some = {i: v for i, v in VALUES.items() if i not in (later, IMAGES[50])}  # 50 is in no plan either
    with_model(context, some)
    make(context, pool_of(LABELLED), "active", 1.0)
    plan = make(context, pool_of([*LABELLED, later]), "active", 1.0)
    assert [p["image"] for p in plan.picks] == greedy(1.0, [*LABELLED, later], some, [], COUNT)


@pytest.mark.parametrize(("batch", "enough"), [(3, 50), (5, 50), (7, 70)])
def test_first_active_plan_waits_for_fifty_or_ten_batches(tmp_path: Path, batch: int, enough: int) -> None:
    context, images = make_context(tmp_path, batch_size=batch), [f"j{n:03d}" for n in range(200)]
    context.state.models.add("m", [], {})
    context.state.maps.add(context.layout_key, dict.fromkeys(images, "1"), np.zeros((200, 2)))
    for count, due in ((0, False), (enough - 1, False), (enough, True)):
        if count:
            context.state.scores.add_entropies("m", dict.fromkeys(images[:count], 0.5))
        assert bool(Planner(context).due(pool_of([], images), grows, complete=False)) is due


def due_now(context: Context, pool: PoolSnapshot) -> bool:
    return bool(Planner(context).due(pool, grows))


def test_active_plan_of_a_small_pool_waits_for_all_of_it(context: Context, layout: Layout) -> None:
    context.state.models.add("m", LABELLED, {})
    pool = pool_of(LABELLED, IMAGES[:20])
    context.state.scores.add_entropies("m", {i: VALUES[i] for i in pool.unlabelled[:-1]})
    assert not due_now(context, pool)
    context.state.scores.add_entropies("m", {pool.unlabelled[-1]: 0.5})
    assert due_now(context, pool)


def test_active_plan_is_remade_when_doubled_and_when_complete(context: Context, layout: Layout) -> None:
    pool, count = pool_of(LABELLED), COUNT - len(LABELLED)
    with_model(context, {i: VALUES[i] for i in pool.unlabelled[:20]})
    for scored, due in ((20, False), (39, False), (40, True), (count - 1, False), (count, True)):
        context.state.scores.add_entropies("m", {i: VALUES[i] for i in pool.unlabelled[:scored]})
        if scored == 20:
            make(context, pool, "active", 0.3)
        assert due_now(context, pool) is due, scored
        if due:
            assert make(context, pool, "active", 0.3).scored == scored
    assert not due_now(context, pool), "complete and planned"


def test_max_scored_makes_a_plan_complete_that_has_not_seen_all(tmp_path: Path) -> None:
    context = make_context(tmp_path, cold_start_budget=6, batch_size=3, max_scored=20)
    with_map(context)
    pool = pool_of(LABELLED)
    context.state.models.add("m", LABELLED, {})
    context.state.scores.add_entropies("m", {i: VALUES[i] for i in pool.unlabelled[:19]})
    assert len(unscored(context, pool)) == COUNT - len(LABELLED) - 19 and not due_now(context, pool)
    context.state.scores.add_entropies("m", {pool.unlabelled[19]: 0.5})
    assert unscored(context, pool) == [] and due_now(context, pool)
