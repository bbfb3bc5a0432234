"""Rank the images available for hand-out, each with its reason.

Anything that `refresh` can compute in advance is only looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from pool.database.models import Model
from pool.errors import PoolError
from strategies.context import Context, plain
from strategies.planning.sources import NotReadyError, source_of
from strategies.ranking.farthest import farthest_rows
from strategies.selectors import Selection
from strategies.selectors.registry import METHODS, Method
from strategies.snapshot import PoolSnapshot
from strategies.stages import encoder_note, progress_of

_RANDOM = METHODS["random"]
_MARKED = {  # reasons of images that a lead marked, by their role
    "marked": "{by} marked it to come next{note}.",
    "reopened": "{by} reopened it{note}: its label is under the tag 'original', to be corrected and saved.",
    "validation": "Held out for validation{note}: it is labelled but never trained on, to measure models by.",
}


@dataclass(frozen=True)
class Ranking:
    """Free images in hand-out order, with the evidence for each.

    :param images: iterable once, lazily
    :param evidence: by image; `common` applies to images without
    :param reason: the same for all images; empty: that of the `method`, or of the lead's mark
    :param facts: the same for all images, for the answer
    :param details: further facts that a reason may name
    :param is_unread: True if nobody has opened the images yet, as far as the ranking knows
    """

    source: str
    stage: str
    images: Iterable[str]
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    common: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    method: Method | None = None
    is_unread: bool = False

    def pick(self, image: str) -> Mapping[str, Any]:
        """Return the evidence for an image."""
        return self.evidence.get(image, self.common)

    def reason_of(self, image: str) -> str:
        """Explain the pick of an image in one plain sentence."""
        pick = self.pick(image)
        if self.reason:
            return self.reason
        if self.method is None:
            note = f" ({pick['why']})" if pick["why"] else ""
            return _MARKED[pick["role"]].format(by=pick["marked_by"], note=note)
        why = str(self.facts.get("alpha_why") or "")
        note = f" ({why})" if why.startswith("adaptive") else ""
        facts = {**self.facts, **self.details, "alpha_note": note}
        sentence = pick.get("reason") or self.method.explain(pick, facts)
        if "rank" in pick:
            return f"{sentence[:-1]} (rank {pick['rank']} of {pick['of']} in the plan)."
        return sentence


@lru_cache(maxsize=4)
def _order(method: Method, count: int, seed: int, groups: tuple[str, ...] | None) -> Selection:
    """Order all rows of a pool by a method that needs nothing; cached, since a large pool takes a while."""
    return method.select(np.zeros((count, 1)), count, groups=groups, seed=seed)


def pool_ranking(context: Context, pool: PoolSnapshot, method: Method, stage: str) -> Ranking:
    """Rank all free images by a method that needs nothing."""
    seed, images = context.settings.seed, pool.images
    groups = pool.group_rows(images)
    chosen = _order(method, len(images), seed, None if groups is None else tuple(groups))
    order = (images[row] for row in chosen.picks.tolist())
    return Ranking(
        f"{method.name}|{seed}",
        stage,
        (image for image in order if pool.is_free(image)),
        common={"role": plain(chosen.evidence["role"][0])} if images else {},
        details={"seed": seed},
        method=method,
        is_unread=True,
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
    ranking = pool_ranking(context, pool, _RANDOM, "preparing")
    facts = {"provisional": True}
    return replace(ranking, common={"role": "provisional"}, facts=facts, reason=why, method=None)


def farthest_ranking(
    context: Context, pool: PoolSnapshot, stage: str, why: str | Callable[[str], str]
) -> Ranking:
    """Rank by distance on the map to the nearest labelled or leased image, farthest first.

    :param why: why not by a plan, or a function that says so of the first image
    """
    layout = context.layout()
    if layout is None:
        return provisional_ranking(context, pool)
    order, reach, is_far = farthest_rows(context, pool, layout)
    if not len(order):
        return provisional_ranking(context, pool)
    because = (
        "this image is the farthest on the map from all images labelled or being labelled"
        if is_far
        else "nothing is labelled yet, so images come from the middle of the map outwards"
    )
    images = [layout.images[row] for row in order]
    evidence = {layout.images[row]: {"role": "farthest", "distance": plain(reach[row])} for row in order}
    source = f"farthest|{context.layout_key}"
    why = why if isinstance(why, str) else why(images[0])
    return Ranking(source, stage, images, evidence, reason=f"{why}: {because}.")


def method_ranking(
    context: Context,
    pool: PoolSnapshot,
    name: str,
    stage: str,
    alpha: float | None = None,
    is_required: bool = True,
) -> Ranking:
    """Rank by the newest plan of a method, then farthest-first.

    Raises PoolError 409 when the method lacks a model or uncertainties, or these are incomplete.

    :param stage: that of the pool; a method may declare its own
    :param alpha: weight of diversity that a client asks for; None for that of the pool
    :param is_required: False: farthest-first until there is a plan, instead of an error
    """
    method = METHODS[name]
    if not method.needs:
        return pool_ranking(context, pool, method, method.stage or stage)
    planned = context.newest_plan(method, alpha)
    if planned is None and not is_required:
        return farthest_ranking(context, pool, stage, f"Waiting for the plan of {name}")
    if planned is None:
        return _unplanned_ranking(context, pool, method, alpha)
    stage = method.stage or stage
    model, plan = planned
    details = plan.details
    facts: dict[str, Any] = {fact: details.get(detail) for fact, detail in method.facts.items()}
    facts = facts or {"method": name, "paper": method.paper}
    if method.each_label:
        facts |= {"head": details["head"]}
    if model:
        facts |= {"round": model.round, "model": model.fingerprint}
    evidence = {
        pick["image"]: {**pick, "rank": i + 1, "of": len(plan.picks)}
        for i, pick in enumerate(plan.picks)
        if pool.is_free(pick["image"])
    }
    if not evidence:
        return farthest_ranking(context, pool, stage, lambda image: _used_up(context, method, model, image))
    return Ranking(plan.key, stage, list(evidence), evidence, facts=facts, method=method)


def _used_up(context: Context, method: Method, model: Model | None, image: str) -> str:
    """Say why the farthest image comes when a plan has no free image left."""
    if method.grows and model and context.state.scores.has(model.fingerprint, image):
        return "The plan of this round is used up and is being extended"
    return method.used_up or f"The plan of {method.name} is used up"


def _unplanned_ranking(context: Context, pool: PoolSnapshot, method: Method, alpha: float | None) -> Ranking:
    """Rank at random for a method that only waits for the map; raise PoolError 409 for others."""
    try:
        source_of(context, method)
    except NotReadyError as error:
        raise PoolError(409, str(error)) from error
    if alpha is not None:
        text = f"{method.name} with alpha {alpha:g} is being planned"
        raise PoolError(409, f"{text}; ask again in a moment, or use strategy auto, which never waits")
    if method.values and not method.each_label:
        raise PoolError(409, f"{method.name} is not planned yet{_progress_hint(context)}")
    return provisional_ranking(context, pool)


def _progress_hint(context: Context) -> str:
    """Return the work in progress, and what to do meanwhile, as the end of an error text."""
    if context.is_pretrained_here and context.pretrained_key is None:
        return f": {encoder_note(context)}"
    progress = progress_of(context)
    step = f" ({progress['step']}, {progress['done']} of {progress['total']})" if progress else ""
    return f"{step}; ask again in a moment, or use strategy auto, which never waits"
