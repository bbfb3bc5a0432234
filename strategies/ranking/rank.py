"""Rankings of the images available for hand-out, with reasons: one function per kind of selection.

Anything that `refresh` can compute in advance is only looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from pool.database.maps import Layout
from pool.database.models import Model
from pool.database.plans import Plan
from pool.errors import PoolError
from strategies import selectors
from strategies.context import Context, plain
from strategies.planning.methods import NotReadyError, newest_plan, source_key
from strategies.planning.plans import active_plan_due, make_active_plan, planned_alphas, rows_of, unscored
from strategies.selectors.registry import METHODS
from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import check_rows
from strategies.snapshot import PoolSnapshot
from strategies.stages import encoder_note, progress_of, stage_of

_MAX_FARTHEST = 64  # farthest images to rank: spares in case others are leased meanwhile


@dataclass(frozen=True)
class Ranking:
    """Free images in hand-out order, with the evidence for each.

    :param images: iterable once, lazily
    :param evidence: by image; `common` applies to images without
    """

    source: str
    stage: str
    images: Iterable[str]
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    common: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""  # the same for all images; empty: derived from the evidence
    facts: Mapping[str, Any] = field(default_factory=dict)  # the same for all images
    method: str = ""  # method of the registry that explains the picks

    def pick(self, image: str) -> Mapping[str, Any]:
        """Return the evidence for an image."""
        return self.evidence.get(image, self.common)


@lru_cache(maxsize=2)
def _random_order(count: int, seed: int, groups: tuple[str, ...] | None) -> list[int]:
    """Return all rows of a pool in random order; cached, since a large pool takes a while."""
    return selectors.random(np.zeros((count, 1)), count, groups=groups, seed=seed).picks.tolist()


def random_ranking(context: Context, pool: PoolSnapshot, stage: str) -> Ranking:
    """Rank all free images in the seed's random order."""
    seed, images = context.settings.seed, pool.images
    groups = pool.group_rows(images)
    rows = _random_order(len(images), seed, None if groups is None else tuple(groups))
    order = (images[row] for row in rows)
    return Ranking(
        f"random|{seed}",
        stage,
        (image for image in order if pool.is_free(image)),
        common={"role": "random"},
        reason=f"Chosen at random (seed {seed}).",
    )


def provisional_ranking(context: Context, pool: PoolSnapshot) -> Ranking:
    """Rank at random while the pool is being prepared. Raises PoolError 503 if preparation failed."""
    progress = progress_of(context) or {
        "step": "starting",
        "done": 0,
        "total": len(pool.images),
        "error": None,
    }
    if progress["error"]:
        raise PoolError(
            503,
            f"preparing the pool failed: {progress['error']}. The server's log has the "
            "details; the server retries every 30 seconds",
        )
    why = (
        f"The pool is still being prepared ({progress['step']}, {progress['done']} of {progress['total']}), "
        "so this image was chosen at random."
    )
    if context.is_pretrained_here and context.pretrained_key is None:
        why = f"Chosen at random: {encoder_note(context)}."
    ranking = random_ranking(context, pool, "preparing")
    return replace(ranking, common={"role": "provisional"}, facts={"provisional": True}, reason=why)


def _plan_ranking(plan: Plan, pool: PoolSnapshot, stage: str, facts: Mapping[str, Any]) -> Ranking:
    """Rank the free picks of a plan."""
    evidence = {
        pick["image"]: {**pick, "rank": i + 1, "of": len(plan.picks)}
        for i, pick in enumerate(plan.picks)
        if pool.is_free(pick["image"])
    }
    return Ranking(plan.key, stage, list(evidence), evidence, facts=facts)


def cold_start_ranking(context: Context, pool: PoolSnapshot) -> Ranking:
    """Rank by the cold-start plan, then farthest-first; provisionally before there is a plan."""
    plan = context.state.plans.newest(context.cold_key)
    if plan is None:
        return provisional_ranking(context, pool)
    facts = {"clusters": plan.details["k"], "map_note": plan.details["map_note"]}
    ranking = _plan_ranking(plan, pool, "cold_start", facts)
    return (
        ranking
        if ranking.images
        else farthest_ranking(context, pool, "cold_start", "The cold-start plan is used up")
    )


def first_ranking(context: Context, pool: PoolSnapshot) -> Ranking:
    """Rank for `auto` before the first model: by the plan of `cold_start_method`."""
    name = context.settings.cold_start_method
    return cold_start_ranking(context, pool) if name == "cold_start" else method_ranking(context, pool, name)


def later_ranking(context: Context, pool: PoolSnapshot) -> Ranking:
    """Rank for `auto` once there is a plan of a model: by the plan of `active_method`."""
    name = context.settings.active_method
    if name == "active":
        return active_ranking(context, pool, context.active_alpha)
    if newest_plan(context, name) is None:
        return farthest_ranking(context, pool, "active", f"Waiting for the plan of {name}")
    return method_ranking(context, pool, name)


def farthest_ranking(context: Context, pool: PoolSnapshot, stage: str, why: str) -> Ranking:
    """Rank by distance on the map to the nearest labelled or leased image, farthest first."""
    layout = context.layout()
    if layout is None:
        return provisional_ranking(context, pool)
    reach, row_of = context.reach.nearest(layout, pool.labelled, pool.leased)
    free, taken = reach.copy(), {*pool.labelled, *pool.leased, *pool.skipped, *pool.failed, *pool.held_out}
    free[[row_of[image] for image in taken if image in row_of]] = -1.0
    rows = np.flatnonzero(free >= 0)
    if not len(rows):
        return provisional_ranking(context, pool)
    because = "this image is the farthest on the map from all images labelled or being labelled"
    if np.isinf(reach).all():  # no labelled or leased image yet
        because = "nothing is labelled yet, so images come from the middle of the map outwards"
        rows = _free_rows(layout, rows, pool)
        groups = pool.group_rows(layout.images)
        order = selectors.farthest_first(layout.points, _MAX_FARTHEST, candidates=rows, groups=groups).picks
        reach = np.zeros(len(reach))
    else:
        order = _free_rows(layout, _best_first(context, pool, layout, free, rows), pool)
        if not len(order):  # all of those have left the pool: check every row, which takes longer
            order = _best_first(context, pool, layout, free, _free_rows(layout, rows, pool))
    if not len(order):
        return provisional_ranking(context, pool)
    images = [layout.images[row] for row in order]
    evidence = {layout.images[row]: {"role": "farthest", "distance": plain(reach[row])} for row in order}
    source = f"farthest|{context.layout_key}"
    return Ranking(source, stage, images, evidence, reason=f"{why}: {because}.")


def _free_rows(layout: Layout, rows: np.ndarray, pool: PoolSnapshot) -> np.ndarray:
    """Return the rows whose image may be handed out; images that left the pool remain on the map."""
    return rows[[pool.is_free(layout.images[row]) for row in rows]]


def _best_first(
    context: Context, pool: PoolSnapshot, layout: Layout, values: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Order rows by `_largest_first`: groups whose turn it is, then the others.

    Images that are leased, or labelled since the newest model was trained, count as their group's turn.
    """
    groups = pool.group_rows(layout.images)
    if groups is None:
        return _largest_first(values, rows)
    models = context.state.models.all()
    trained_on = set(models[0].labelled) if models else set()
    given = rows_of(layout, {*pool.labelled, *pool.leased} - trained_on)
    pool_rows = check_rows(len(groups), candidates=rows, groups=groups)
    is_turn = Availability(pool_rows, rows, np.array(given, dtype=int)).now
    return np.concatenate([_largest_first(values, rows[is_turn]), _largest_first(values, rows[~is_turn])])


def _largest_first(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the `_MAX_FARTHEST` rows with the largest values, more if values tie; ties to the lowest row."""
    if len(rows) > _MAX_FARTHEST:
        rows = rows[values[rows] >= np.partition(values[rows], -_MAX_FARTHEST)[-_MAX_FARTHEST]]
    return rows[np.argsort(-values[rows], kind="stable")]


def method_ranking(context: Context, pool: PoolSnapshot, name: str) -> Ranking:
    """Rank by the newest plan of a method of the registry, then farthest-first.

    Raises PoolError 409 when the method lacks a model or uncertainties, or these are incomplete.
    """
    stage, planned = stage_of(context, pool), newest_plan(context, name)
    if planned is None:
        try:
            source_key(context, name)
        except NotReadyError as error:
            raise PoolError(409, str(error)) from error
        if METHODS[name].values:
            raise PoolError(409, f"{name} is not planned yet{_progress_hint(context)}")
        return provisional_ranking(context, pool)
    model, plan = planned
    facts: dict[str, Any] = {"method": name, "paper": METHODS[name].paper}
    if model:
        facts |= {"round": model.round, "model": model.fingerprint}
    ranking = replace(_plan_ranking(plan, pool, stage, facts), method=name)
    return (
        ranking
        if ranking.images
        else farthest_ranking(context, pool, stage, f"The plan of {name} is used up")
    )


def active_ranking(context: Context, pool: PoolSnapshot, alpha: float | str) -> Ranking:
    """Rank by the active plan of the newest planned model. Raises PoolError 409 before the first."""
    models = context.state.models.all()
    if not models:
        raise PoolError(
            409,
            "active selection needs a trained model: label images (strategy auto or "
            "cold_start), then start a training (POST /train/segmentation)",
        )
    planned = context.active_plan(alpha)
    if alpha not in planned_alphas(context) and (
        planned is None
        or planned[0] != models[0]
        or active_plan_due(context, models[0].fingerprint, alpha, complete=not unscored(context, pool))
    ):
        planned = _plan_now(context, pool, alpha, models[0]) or planned
    if planned is None:
        raise PoolError(409, f"the newest model is still being applied to the pool{_progress_hint(context)}")
    model, plan = planned
    facts = {
        "round": model.round,
        "model": model.fingerprint,
        "alpha": plan.details["alpha"],
        "alpha_why": plan.details.get("alpha_why"),
    }
    ranking, layout = _plan_ranking(plan, pool, "active", facts), context.layout()
    if (
        layout
        and not ranking.images
        and _has_unplanned(pool, plan, context.state.scores.entropies(model.fingerprint))
    ):  # extend the plan by the same greedy rule
        ranking = _plan_ranking(make_active_plan(context, layout, model, alpha, pool), pool, "active", facts)
    return (
        ranking
        if ranking.images
        else farthest_ranking(context, pool, "active", "New images are not scored yet")
    )


def _progress_hint(context: Context) -> str:
    """Return the work in progress, and what to do meanwhile, as the end of an error text."""
    if context.is_pretrained_here and context.pretrained_key is None:
        return f": {encoder_note(context)}"
    progress = progress_of(context)
    step = f" ({progress['step']}, {progress['done']} of {progress['total']})" if progress else ""
    return f"{step}; ask again in a moment, or use strategy auto, which never waits"


def _has_unplanned(pool: PoolSnapshot, plan: Plan, values: Mapping[str, float]) -> bool:
    """Return True if a free image of the round is not in the plan."""
    picked = {pick["image"] for pick in plan.picks}
    return any(image not in picked and pool.is_free(image) for image in values)


def _plan_now(
    context: Context, pool: PoolSnapshot, alpha: float | str, model: Model
) -> tuple[Model, Plan] | None:
    """Plan an alpha that `refresh` does not plan; None until the model has its regular plan."""
    layout = context.layout()
    if layout is None or not context.state.plans.newest(
        context.active_key(model.fingerprint, context.active_alpha)
    ):
        return None
    return model, make_active_plan(context, layout, model, alpha, pool)


def reason_of(ranking: Ranking, image: str) -> str:
    """Explain the pick of an image in one plain sentence."""
    pick = ranking.pick(image)
    role, rank = pick.get("role"), f"(rank {pick.get('rank')} of {pick.get('of')} in the plan)"
    if ranking.reason:
        return ranking.reason
    if role in ("marked", "validation"):
        why = f" ({pick['why']})" if pick["why"] else ""
        if role == "marked":
            return f"{pick['marked_by']} marked it to come next{why}."
        return f"Held out for validation{why}: it is labelled but never trained on, to measure models by."
    if ranking.method:
        return f"{METHODS[ranking.method].explain(pick)[:-1]} {rank}."
    if role == "medoid":
        return f"The most typical image of cluster {pick['cluster'] + 1} {rank}."
    if role == "farthest":
        return f"The image of cluster {pick['cluster'] + 1} that is least like those picked before it {rank}."
    if role == "most_uncertain":
        return f"The model of round {ranking.facts['round']} is least sure about this image of all {rank}."
    return (
        f"The model of round {ranking.facts['round']} is unsure about it "
        f"(entropy {pick['entropy']:.2f} of 1) "
        f"and it lies {pick['distance']:.2f} of the map's width from labelled images, weighed with alpha "
        f"{_alpha_text(ranking)} {rank}."
    )


def _alpha_text(ranking: Ranking) -> str:
    """Return alpha as text, with the reason if it is adaptive."""
    why = str(ranking.facts.get("alpha_why") or "")
    return f"{ranking.facts['alpha']:.2g}" + (f" ({why})" if why.startswith("adaptive") else "")
