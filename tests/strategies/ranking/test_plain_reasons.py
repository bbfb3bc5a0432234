"""Reasons in a reader's words: by method, role and evidence, from a ranking and from the ledger."""

from __future__ import annotations

from typing import Any

import pytest

from pool.database.handouts import Client, LeasePolicy
from server.pages.past import history_of, rule_of
from server.pages.planning import plan_now
from strategies.ranking.plain_reasons import plain_reason
from strategies.selectors.registry import METHODS

ACTIVE, COLD = METHODS["active"], METHODS["cold_start"]
WAITING = (
    "It looks least like the images labelled, being labelled or picked before it. The first model is not "
    "ready yet."
)


@pytest.mark.parametrize(
    ("entropy", "distance", "words"),
    [
        (0.9, 0.4, "is very unsure about it, and it looks quite unlike"),
        (0.67, 0.25, "is very unsure about it, and it looks quite unlike"),
        (0.66, 0.24, "is rather unsure about it, and it differs somewhat from"),
        (0.33, 0.08, "is rather unsure about it, and it differs somewhat from"),
        (0.1, 0.4, "is fairly sure about it, but it looks quite unlike"),
        (0.32, 0.08, "is fairly sure about it, but it differs somewhat from"),
        (0.5, 0.01, "is rather unsure about it, though it looks much like"),
        (0.1, 0.01, "is fairly sure about it, and it looks much like"),
        (0, 0, "is fairly sure about it, and it looks much like"),
    ],
)
@pytest.mark.parametrize("name", ["active", "entropy", "diversity", "foreground_active"])
def test_combined_picks_are_graded(name: str, entropy: float, distance: float, words: str) -> None:
    pick = {"role": "combined", "round": 2, "rank": 3, "entropy": entropy, "distance": distance}
    assert plain_reason(METHODS[name], pick) == f"The model of round 2 {words} the labelled images."


def test_the_most_uncertain_and_a_preview_without_its_round() -> None:
    pick = {"role": "most_uncertain", "round": 1, "rank": 1}
    assert plain_reason(ACTIVE, pick) == "The model of round 1 is least sure about this image of all."
    pick = {"role": "most_uncertain"}
    assert plain_reason(ACTIVE, pick) == "The model is least sure about this image of all."


def test_picks_of_clusters() -> None:
    typical = "The most typical image of cluster 3, a group of images that look alike."
    least = "The image of cluster 3 that looks least like those picked before it."
    for role, said in (("medoid", typical), ("farthest", least)):
        pick = {"role": role, "stage": "cold_start", "rank": 1, "cluster": 2}
        assert plain_reason(COLD, pick) == said
        assert plain_reason(COLD, {**pick, "cluster": None}) is None
        assert pick["cluster"] == 2
    assert plain_reason(METHODS["kmeans_to_budget"], {"role": "medoid", "cluster": 2}) == typical
    assert plain_reason(METHODS["kmeans_to_budget"], {"role": "runner-up", "cluster": 2}) is None


def test_waiting_for_the_first_model_is_known_by_stage_and_rank() -> None:
    waiting = {"role": "farthest", "stage": "bridging", "rank": None, "reason": "In other words."}
    assert plain_reason(None, waiting) == plain_reason(METHODS["farthest_first"], waiting) == WAITING
    for other in ({"stage": "active"}, {"stage": "cold_start"}, {"rank": 2}, {"role": "random"}):
        assert plain_reason(METHODS["farthest_first"], {**waiting, **other}) is None
    assert plain_reason(None, {"role": "marked", "stage": "active", "why": ""}) is None


def plain_of(world: Any, image: str) -> dict[str, Any]:
    """Return the newest hand-out of an image, as its history shows it."""
    events = history_of(world.context, world.pool, image)["events"]
    return [event for event in events if event["event"] == "handout"][-1]


def test_plan_and_history_say_the_same_in_every_stage(world: Any) -> None:
    world.prepare()
    said = []
    for stage in ("cold_start", "bridging", "active"):
        assert world.stage == stage
        for client in ("ann", "ben"):
            planned = plan_now(world.context, world.store, 1)["picks"][0]
            answer = world.ask(client_id=client)
            assert planned["image"] == answer["id"] and "plain" not in answer["selection"]
            assert plain_of(world, answer["id"])["plain"] == planned["plain"]
            said.append(planned["plain"])
        if stage == "cold_start":
            world.label(*world.cold)
        if stage == "bridging":
            for client in ("ann", "ben"):
                world.context.state.handouts.release_all(Client(client))
            world.train("m")
    assert "a group of images that look alike" in said[0]
    assert said[2:4] == [WAITING] * 2
    assert said[4] == "The model of round 1 is least sure about this image of all."
    assert said[5].startswith("The model of round 1 is ") and said[5].endswith(" the labelled images.")


def test_history_names_the_variant_of_active_that_was_asked(world: Any) -> None:
    world.prepare()
    world.label(*world.cold)
    world.train("m")
    world.plan_due()
    for name in ("entropy", "active", "diversity"):
        given = plain_of(world, world.ask(name, client_id=name)["id"])
        assert given["rule"]["name"] == name and given["rule"]["text"] == METHODS[name].text
        assert given["plain"].startswith("The model of round 1 is ")


def test_entries_whose_source_is_no_method_s_now_are_told_by_role() -> None:
    assert rule_of("former|x", {"role": "combined", "rank": 2}) == "active"
    assert rule_of("former|x", {"role": "medoid", "rank": 2}) == "cold_start"
    assert rule_of("farthest|x", {"role": "farthest", "rank": None}) == "farthest_first"
    assert rule_of("marks|marked", {"role": "marked"}) == "marked"
    assert rule_of("random|42", {"role": "provisional"}) == "random"


def test_a_method_that_was_removed_leaves_a_history(world: Any) -> None:
    world.prepare()
    block = {"role": "odd", "method": "removed", "rank": 1, "reason": "It is odd."}
    give = world.context.state.handouts.give
    give(Client("ann"), "removed|x", [world.images[0]], lambda _: True, lambda _: block, LeasePolicy())
    given = plain_of(world, world.images[0])
    assert given["rule"] == {"name": "removed", "text": "A method that is not installed here", "paper": None}
    assert given["reason"] == "It is odd." and given["plain"] is None
