"""Methods of the registry as strategies on the real state: missing inputs, plans and reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle_configs import Bundle
from pool.errors import PoolError
from strategies import selectors
from strategies.context import OTSU, Context
from strategies.planning.sources import NotReadyError, unscored
from strategies.planning.weights import weight_of
from strategies.refresh.pipeline import Refresh, due_methods
from strategies.selectors.registry import METHODS
from strategies.settings import Settings
from strategies.strategy import all_strategies

FEATURES = np.random.default_rng(8).normal(size=(12, 5))
COLD = ["kmeans_to_budget", "alps", "calr", "typiclust", "farthest_first", "clfps", "probcover"]
COLD += ["usl", "usl_t"]


@pytest.fixture
def offered(world: Any) -> Any:
    """Return the world with all strategies offered, and embeddings."""
    use(world, strategies="auto," + ",".join(METHODS))
    keep_features(world)
    world.prepare()
    return world


def keep_features(world: Any) -> None:
    rows = [(image, "1", vector) for image, vector in zip(world.images, FEATURES, strict=True)]
    world.context.state.embeddings.add(world.context.encoder_key, rows)


def use(world: Any, **settings: Any) -> None:
    world.context = replace(world.context, settings=replace(world.context.settings, **settings))
    world.strategies = all_strategies(world.context)


def plan_all(world: Any) -> list[str]:
    names = due_methods(world.context, world.pool)
    for name in names:
        world.plan(name)
    return names


def train(world: Any, name: str, seed: int = 0) -> None:
    """Register a model with entropies and measures for all unlabelled images."""
    rng, images = np.random.default_rng(seed), world.pool.unlabelled
    world.context.state.models.add(name, world.pool.labelled, {})
    world.context.state.scores.add_entropies(name, {image: rng.random() for image in images})
    kinds = ("foreground", "class 1", "class 2")
    values = {image: {kind: rng.random() for kind in kinds} for image in images}
    world.context.state.scores.add_measures(name, values)


def test_the_default_offer_and_its_order(world: Any) -> None:
    use(world, strategies=Settings().strategies)
    assert list(world.strategies) == ["auto", "cold_start", "active", "random"]
    use(world, strategies="urds, random,auto,random")
    assert list(world.strategies) == ["urds", "random", "auto"]


def test_only_what_is_on_offer_is_planned(world: Any) -> None:
    world.prepare()
    assert due_methods(world.context, world.pool) == []


@pytest.mark.parametrize("name", COLD)
def test_a_cold_method_hands_out_its_plan_in_its_own_words(offered: Any, name: str) -> None:
    provisional = offered.ask(name)["selection"]
    assert provisional["provisional"] and provisional["role"] == "provisional"
    offered.context.state.handouts.release(*_held(offered))
    assert name in plan_all(offered) and name not in due_methods(offered.context, offered.pool)
    points = FEATURES.astype(np.float32).astype(np.float64)
    if "unit_features" in METHODS[name].needs:
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    wanted = METHODS[name].select(points, offered.budget, seed=42)
    answers = [offered.ask(name) for _ in range(offered.budget)]
    assert [a["id"] for a in answers] == [offered.images[row] for row in wanted.picks]
    for rank, answer in enumerate(answers):
        block = answer["selection"]
        assert (block["method"], block["rank"], block["of"]) == (name, rank + 1, offered.budget)
        assert block["reason"].endswith(f"(rank {rank + 1} of {offered.budget} in the plan).")
        for key, values in wanted.evidence.items():
            assert block[key] == pytest.approx(values[rank].item()), key
    beyond = offered.ask(name)["selection"]
    assert beyond["role"] == "farthest" and f"The plan of {name} is used up" in beyond["reason"]


def test_auto_begins_with_the_method_that_is_set(world: Any) -> None:
    use(world, strategies="auto", cold_start_method="typiclust", cold_start_budget=world.budget)
    world.prepare()
    keep_features(world)
    assert plan_all(world) == ["typiclust"]
    wanted = METHODS["typiclust"].select(FEATURES.astype(np.float32), world.budget, seed=42)
    answers = [world.ask("auto") for _ in range(world.budget)]
    assert [answer["id"] for answer in answers] == [world.images[row] for row in wanted.picks]
    block = answers[0]["selection"]
    assert (block["stage"], block["method"]) == ("cold_start", "typiclust") and "typical" in block["reason"]


def _held(world: Any) -> tuple[str, Any]:
    from pool.database.handouts import Client

    return world.context.state.handouts.open()[0].image, Client("anonymous")


def test_a_cold_plan_knows_the_labels_there_are(offered: Any) -> None:
    offered.label(*offered.images[:3])
    plan = offered.plan("typiclust")
    wanted = selectors.typiclust(FEATURES.astype(np.float32), 4, labelled=[0, 1, 2], seed=42)
    assert [pick["image"] for pick in plan.picks] == [offered.images[row] for row in wanted.picks]
    assert plan.details["labelled"] == offered.images[:3]


@pytest.mark.parametrize("name", ["urds", "urds_uncertainty_only", "cscs"])
def test_uncertainty_comes_from_a_pretraining(offered: Any, name: str) -> None:
    with pytest.raises(PoolError, match="/train/pretraining") as caught:
        offered.ask(name)
    assert caught.value.status == 409
    offered.context.pretrained_file.write_bytes(b"weights")  # only its fingerprint is looked at
    key = offered.context.pretrained_key
    values = {image: float(np.sin(n)) for n, image in enumerate(offered.images)}
    offered.context.state.scores.add_entropies(key, {image: values[image] for image in offered.images[:5]})
    offered.context.state.progress.set("judging with the pretrained network", 5, 12, 0.0)
    with pytest.raises(PoolError, match=rf"{name} is not planned yet \(judging with .*, 5 of 12\)"):
        offered.ask(name)
    assert name not in due_methods(offered.context, offered.pool)
    with pytest.raises(NotReadyError, match="uncertainty of 7 images is still being computed"):
        offered.plan(name)
    offered.context.state.scores.add_entropies(key, values)
    assert name in plan_all(offered)
    block = offered.ask(name)["selection"]
    image = offered.ask(name, resume=False)["id"]
    assert block["uncertainty"] in values.values() and image in values
    wanted = METHODS[name].select(FEATURES.astype(np.float32), 4, seed=42, uncertainty=list(values.values()))
    assert block["uncertainty"] == pytest.approx(wanted.evidence["uncertainty"][0])
    offered.context.pretrained_file.write_bytes(b"other weights")
    again = offered.context.pretrained_key
    assert again != key
    offered.context.state.scores.add_entropies(again, values)
    assert name in due_methods(offered.context, offered.pool), "another pretraining, another plan"


def test_urds_differs_from_both_ablations_and_says_why(offered: Any) -> None:
    offered.context.pretrained_file.write_bytes(b"weights")
    values = {image: float(np.sin(n)) for n, image in enumerate(offered.images)}
    offered.context.state.scores.add_entropies(offered.context.pretrained_key, values)
    plan_all(offered)
    names = ("urds", "urds_uncertainty_only", "urds_diversity_only")
    plans = {name: offered.plan(name) for name in names}
    picks = {name: [pick["image"] for pick in plan.picks][:4] for name, plan in plans.items()}
    assert len({tuple(found) for found in picks.values()}) == 3
    first = plans["urds"].picks[0]
    assert {"uncertainty", "typicality", "typicality_rank", "cluster"} <= set(first)


def test_foreground_comes_from_a_threshold_and_then_from_the_model(offered: Any) -> None:
    with pytest.raises(PoolError, match="foreground_random is not planned yet; ask again"):
        offered.ask("foreground_random")
    with pytest.raises(NotReadyError, match="foreground of 12 images"):
        offered.plan("foreground_random")
    shown = {image: {"foreground": 0.0 if n % 2 else 0.4} for n, image in enumerate(offered.images)}
    offered.context.state.scores.add_measures(OTSU, shown)
    plan_all(offered)
    answers = [offered.ask("foreground_random") for _ in range(7)]
    roles = [answer["selection"]["role"] for answer in answers]
    assert roles == ["foreground"] * 6 + ["empty"]
    assert "40.0% of the image is foreground" in answers[0]["selection"]["reason"]
    train(offered, "m")
    assert "foreground_random" in plan_all(offered)
    block = offered.ask("foreground_random")["selection"]
    assert (block["model"], block["round"]) == ("m", 1)


def test_clasp_pe_has_a_plan_per_model(offered: Any) -> None:
    with pytest.raises(PoolError, match="clasp_pe needs a trained model"):
        offered.ask("clasp_pe")
    train(offered, "one", seed=1)
    assert "clasp_pe" in plan_all(offered)
    block = offered.ask("clasp_pe")["selection"]
    assert block["model"] == "one" and "Drawn by the entropy of" in block["reason"]
    train(offered, "two", seed=2)
    assert offered.ask("clasp_pe")["selection"]["model"] == "one", "until the newer one is planned"
    plan = offered.plan("clasp_pe")
    assert plan.details["beta"] == pytest.approx(100**0.25) and plan.details["round"] == 2
    assert {pick["role"] for pick in plan.picks} == {"the image", "class 1", "class 2"}


def test_vaal_is_planned_before_the_first_model_and_anew_for_each(offered: Any) -> None:
    use(offered, strategies="auto,vaal", active_method="vaal")
    assert "vaal" in plan_all(offered)
    cold = offered.ask("vaal")["selection"]
    assert (cold["role"], cold["of"], cold["model"]) == ("hard to encode", 12, None)
    offered.label(*offered.images[:2])
    assert "vaal" not in due_methods(offered.context, offered.pool), "labels alone are no new plan"
    for number, name in enumerate(["one", "two"], start=1):
        offered.context.state.models.add(name, offered.pool.labelled, {})
        assert "vaal" in plan_all(offered), "without waiting for scores"
        block = offered.ask("vaal")["selection"]
        assert (block["model"], block["round"], block["role"]) == (name, number, "unlike labelled")
    points = FEATURES.astype(np.float32).astype(np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    wanted = selectors.vaal(points, 12, labelled=[0, 1], seed=42 + 2).picks
    plan = offered.context.newest_plan(METHODS["vaal"])[1]
    assert [pick["image"] for pick in plan.picks] == [offered.images[row] for row in wanted]


def test_foreground_active_is_planned_with_the_configured_alpha(offered: Any) -> None:
    use(offered, strategies="auto,foreground_active", alpha=0.3)
    train(offered, "one", seed=1)
    assert "foreground_active" in plan_all(offered)
    answer = offered.ask("foreground_active")["selection"]
    assert answer["model"] == "one" and "predicts structures on" in answer["reason"]
    plan = offered.plan("foreground_active")
    assert plan.details["alpha"] == 0.3
    assert len(plan.picks) == len(offered.pool.unlabelled), "one model has a plan for more than a cold start"
    use(offered, strategies="auto,foreground_active", alpha=0.7)
    assert "foreground_active" in plan_all(offered), "another alpha is another plan"


def test_auto_goes_on_with_the_method_that_is_set(world: Any) -> None:
    use(world, strategies="auto", active_method="foreground_active")
    world.prepare()
    world.label(*[world.ask("auto")["id"] for _ in range(world.budget)])
    train(world, "one")
    world.plan("active")
    waiting = world.ask("auto")["selection"]
    assert (waiting["stage"], waiting["role"]) == ("active", "farthest")
    assert waiting["reason"].startswith("Waiting for the plan of foreground_active: ")
    assert plan_all(world) == ["foreground_active"]
    plan = world.context.newest_plan(METHODS["foreground_active"])[1]
    block = world.ask("auto")["selection"]
    assert (block["method"], block["rank"], block["model"]) == ("foreground_active", 1, "one")
    assert plan.details["alpha"] == 0.3
    world.context.state.marks.choose_alpha(0.9, "lead")
    assert due_methods(world.context, world.pool) == ["foreground_active"], (
        "planned with the alpha chosen on the map"
    )


def test_neither_a_click_nor_a_look_reads_the_values_of_all_images(
    offered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values are one row per image and class: seconds in a pool of 100,000."""
    state = offered.context.state
    train(offered, "one")
    offered.context.pretrained_file.write_bytes(b"weights")
    state.scores.add_entropies(offered.context.pretrained_key, dict.fromkeys(offered.images, 0.5))

    def refuse(*_: Any) -> None:
        raise AssertionError("the values of all images were read")

    for planned in (False, True):
        with monkeypatch.context() as patched:
            patched.setattr(state.scores, "entropies", refuse)
            patched.setattr(state.scores, "measures", refuse)
            for name in ("urds", "cscs", "clasp_pe", "foreground_random"):
                if planned:
                    assert offered.ask(name)["selection"]["method"] == name
                else:
                    with pytest.raises(PoolError, match=f"{name} is not planned yet"):
                        offered.ask(name)
            if planned:
                assert due_methods(offered.context, offered.pool) == []
        plan_all(offered)


def test_a_network_published_meanwhile_fails_no_refresh(
    offered: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use(offered, strategies="auto,urds,alps")
    # what was due when it was looked at: urds, whose uncertainties belong to a network that has gone since
    monkeypatch.setattr("strategies.refresh.pipeline.due_methods", lambda *_: ["urds", "alps"])
    with caplog.at_level("INFO", logger="strategies.refresh.each_label"):
        Refresh(offered.context, Bundle("cxr_lungs"))({}, offered.store)
    assert "urds is planned later" in caplog.text
    assert offered.context.state.progress.get()["step"] == "ready"
    assert offered.ask("alps")["selection"]["rank"] == 1


def test_a_model_waits_for_the_encoder_that_is_not_pretrained(offered: Any) -> None:
    """Nothing applies the model to the pool meanwhile, so "in a moment" would be wrong."""
    use(offered, encoder="csal3d", strategies="auto,active,clasp_pe")
    train(offered, "one")
    for name in ("active", "clasp_pe"):
        with pytest.raises(PoolError, match="csal3d is not pretrained yet: start the training") as caught:
            offered.ask(name)
        assert caught.value.status == 409 and "in a moment" not in caught.value.text


def test_a_model_that_was_applied_before_is_applied_again_for_the_measures(offered: Any) -> None:
    offered.context.state.models.add("old", [], {})
    offered.context.state.scores.add_entropies("old", dict.fromkeys(offered.images, 0.5))
    assert unscored(offered.context, offered.pool) == offered.images
    use(offered, strategies="auto,urds")
    assert unscored(offered.context, offered.pool) == []


# adaptive alpha --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "alpha", "agreement"),
    [
        (list(range(10)), 0.0, 1.0),
        (list(range(9, -1, -1)), 1.0, -1.0),
        # two neighbours change places: 1 - 6 * 2 / (10 * 99)
        ([1, 0, *range(2, 10)], 12 / 990, 1 - 12 / 990),
        ([5.0] * 10, 1.0, 0.0),
        (list(range(9)), 0.3, None),
    ],
)
def test_adaptive_alpha_by_hand(before: list[float], alpha: float, agreement: float | None) -> None:
    found, correlation = selectors.adaptive_alpha(np.arange(len(before)) * 2.0, before, 0.3)
    assert found == pytest.approx(alpha)
    assert correlation == (None if agreement is None else pytest.approx(agreement))


def test_adaptive_alpha_refuses(world: Any) -> None:
    with pytest.raises(ValueError, match="earlier entropy of row 1"):
        selectors.adaptive_alpha([1.0, 2.0], [1.0, np.nan], 0.3)
    with pytest.raises(ValueError, match="one value per row"):
        selectors.adaptive_alpha([1.0, 2.0], [1.0], 0.3)


def test_adaptive_alpha_follows_the_models(world: Any) -> None:
    use(world, alpha_schedule="adaptive", strategies="auto,active")
    world.prepare()
    state = world.context.state
    for name, values in (("one", range(12)), ("two", [1, 0, *range(2, 12)])):
        state.models.add(name, [], {})
        state.scores.add_entropies(name, dict(zip(world.images, map(float, values), strict=True)))
    two, one = state.models.all()
    assert weight_of(world.context, one, "adaptive")[0] == 0.3
    weight, why = weight_of(world.context, two, "adaptive")
    assert weight == pytest.approx(12 / (12 * 143)) and "correlate by 0.99" in why
    assert weight_of(world.context, two, 0.5) == (0.5, "as requested")
    plan = world.plan("active", alpha="adaptive")
    assert plan.details["alpha"] == pytest.approx(weight) and plan.details["alpha_why"] == why
    block = world.ask("active")["selection"]
    assert (block["alpha"], block["alpha_why"]) == (plan.details["alpha"], why)
    wanted = selectors.active(world.points, [1, 0, *range(2, 12)], 2, weight)
    second = world.ask("active")
    assert [block["rank"], second["id"]] == [1, world.images[wanted.picks[1]]]
    assert "adaptive: its entropies correlate" in second["selection"]["reason"]
    with pytest.raises(PoolError, match="alpha 1 is being planned"):
        world.ask("active", alpha=1)
    assert world.plan_due() == ["1.0"]
    assert world.ask("active", alpha=1)["selection"]["alpha"] == 1


def test_fixed_alpha_is_the_default(tmp_path: Path, world: Any) -> None:
    assert isinstance(world.context, Context) and world.context.configured_alpha == 0.3
