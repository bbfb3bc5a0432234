"""What may be handed out, best first, and why: one function per kind of selection. What `refresh` can have
computed before is only looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import HTTPException

from pool.journal import Plan
from pool.state import Model
from strategies import selectors
from strategies.context import Context, Pool, plain
from strategies.plans import active_plan_due, make_active_plan, planned_alphas, rows_of
from strategies.stages import progress_of


@dataclass(frozen=True)
class Offer:
    """Images in hand-out order with the evidence of each.

    :param source: images are handed out once per source, then again from its start
    """

    source: str
    stage: str
    images: list[str]
    evidence: dict[str, dict[str, Any]] = field(default_factory=dict)
    reason: str = ""  # the same for all images, unless their evidence says more
    facts: Mapping[str, Any] = field(default_factory=dict)  # the same for all images


def random_offer(context: Context, pool: Pool, stage: str) -> Offer:
    """All unlabelled images in the seed's random order."""
    seed = context.settings.seed
    order = selectors.random([[0.0]] * len(pool.images), len(pool.images), seed=seed).picks
    open_images = set(pool.unlabelled)
    images = [pool.images[row] for row in order if pool.images[row] in open_images]
    return Offer(
        f"random|{seed}",
        stage,
        images,
        {i: {"role": "random"} for i in images},
        f"Chosen at random (seed {seed}).",
    )


def provisional_offer(context: Context, pool: Pool) -> Offer:
    """A random image while the pool is being prepared. Raises HTTPException 503 when that failed."""
    progress = progress_of(context) or {
        "step": "starting",
        "done": 0,
        "total": len(pool.images),
        "error": None,
    }
    if progress["error"]:
        raise HTTPException(
            503,
            f"preparing the pool failed: {progress['error']}. The server's log has the "
            "details; it tries again every 30 seconds",
        )
    offer = random_offer(context, pool, "preparing")
    reason = (
        f"The pool is still being prepared ({progress['step']}, {progress['done']} of "
        f"{progress['total']}), so this image was chosen at random."
    )
    evidence = {i: {"role": "provisional"} for i in offer.images}
    return Offer(offer.source, "preparing", offer.images, evidence, reason, {"provisional": True})


def _plan_offer(plan: Plan, pool: Pool, stage: str, facts: Mapping[str, Any]) -> Offer:
    """The picks of a plan that still have no label, with their rank in it."""
    open_images = set(pool.unlabelled)
    evidence = {
        pick["image"]: {**pick, "rank": i + 1, "of": len(plan.picks)}
        for i, pick in enumerate(plan.picks)
        if pick["image"] in open_images
    }
    return Offer(plan.key, stage, list(evidence), evidence, "", facts)


def cold_start_offer(context: Context, pool: Pool) -> Offer:
    """The cold-start plan; used up, farthest-first goes on from it. Provisional before there is a plan."""
    plan = context.state.journal.plan(context.cold_key)
    if plan is None:
        return provisional_offer(context, pool)
    facts = {"clusters": plan.details["k"], "map_note": plan.details["map_note"]}
    offer = _plan_offer(plan, pool, "cold_start", facts)
    return (
        offer
        if offer.images
        else farthest_offer(context, pool, "cold_start", "The cold-start plan is used up")
    )


def farthest_offer(context: Context, pool: Pool, stage: str, why: str) -> Offer:
    """The image farthest on the map from all that is labelled or was handed out this way."""
    layout, source = context.layout(), f"farthest|{context.layout_key}"
    open_rows = rows_of(layout, pool.unlabelled) if layout else []
    if layout is None or not open_rows:
        return provisional_offer(context, pool)
    given = context.state.journal.handed_out(source)
    fresh = [row for row in open_rows if layout.images[row] not in given]
    anchors = rows_of(layout, {*pool.labelled, *given} if fresh else pool.labelled)
    chosen = selectors.farthest_first(
        layout.points,
        1 if fresh else len(open_rows),  # all were given: again from the farthest on
        candidates=fresh or open_rows,
        labelled=[row for row in anchors if row not in set(fresh or open_rows)],
    )
    reach = zip(chosen.picks, chosen.evidence["distance"], strict=True)
    evidence = {layout.images[row]: {"role": "farthest", "distance": plain(d)} for row, d in reach}
    return Offer(
        source,
        stage,
        list(evidence),
        evidence,
        f"{why}: this image is the farthest on the map from all labelled images.",
    )


def active_offer(context: Context, pool: Pool, alpha: float) -> Offer:
    """The active plan of the newest model that is planned. Raises HTTPException 409 before the first."""
    models = context.state.models()
    if not models:
        raise HTTPException(
            409,
            "active selection needs a trained model: label images (strategy auto or "
            "cold_start), then start a training (POST /train/segmentation)",
        )
    found = context.active_plan(alpha)
    if alpha not in planned_alphas(context) and (
        found is None or found[0] != models[0] or active_plan_due(context, models[0].fingerprint, alpha, pool)
    ):
        found = _plan_now(context, pool, alpha, models[0]) or found
    if found is None:
        progress = progress_of(context) or {}
        raise HTTPException(
            409,
            f"the newest model is still being applied to the pool "
            f"({progress.get('step')}, {progress.get('done')} of {progress.get('total')}); "
            "ask again in a moment, or use strategy auto, which never waits",
        )
    model, plan = found
    facts = {"round": model.round, "model": model.fingerprint, "alpha": alpha}
    offer, layout = _plan_offer(plan, pool, "active", facts), context.layout()
    if layout and _used_up(context, pool, plan, offer):  # the same greedy goes on
        offer = _plan_offer(make_active_plan(context, layout, model, alpha, pool), pool, "active", facts)
    return offer if offer.images else farthest_offer(context, pool, "active", "New images are not scored yet")


def _used_up(context: Context, pool: Pool, plan: Plan, offer: Offer) -> bool:
    """True when all picks were handed out while other images of the round were not."""
    given = context.state.journal.handed_out(plan.key)
    if not given.issuperset(offer.images):
        return False
    values = context.state.entropies(plan.model or "")
    return any(image in values and image not in given for image in pool.unlabelled)


def _plan_now(context: Context, pool: Pool, alpha: float, model: Model) -> tuple[Model, Plan] | None:
    """An alpha that refresh does not plan for: possible as soon as its own plan of the model exists."""
    layout = context.layout()
    if layout is None or not context.state.journal.plan(
        context.active_key(model.fingerprint, context.settings.alpha)
    ):
        return None
    return model, make_active_plan(context, layout, model, alpha, pool)


def reason_of(offer: Offer, image: str) -> str:
    """One sentence in plain words that says why this image."""
    pick = offer.evidence.get(image, {})
    role, rank = pick.get("role"), f"(rank {pick.get('rank')} of {pick.get('of')} in the plan)"
    if offer.reason:
        return offer.reason
    if role == "medoid":
        return f"The most typical image of cluster {pick['cluster'] + 1} {rank}."
    if role == "farthest":
        return f"The image of cluster {pick['cluster'] + 1} that is least like those picked before it {rank}."
    if role == "most_uncertain":
        return f"The model of round {offer.facts['round']} is least sure about this image of all {rank}."
    return (
        f"The model of round {offer.facts['round']} is unsure about it (entropy {pick['entropy']:.2f} of 1) "
        f"and it lies {pick['distance']:.2f} of the map's width from labelled images, weighed with alpha "
        f"{offer.facts['alpha']:g} {rank}."
    )
