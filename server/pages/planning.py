"""The next hand-outs: as planned, and previews with another alpha."""

from __future__ import annotations

import threading
from typing import Any

from cachetools import LRUCache

from pool.database.models import Model
from pool.errors import PoolError
from pool.protocol import PoolStore
from server.pages.pool_map import version_of
from strategies.context import LATER, Context
from strategies.planning.planner import Planner
from strategies.planning.sources import Source
from strategies.ranking.plain_reasons import plain_reason
from strategies.ranking.rank import Ranking
from strategies.selectors.registry import METHODS
from strategies.snapshot import PoolSnapshot
from strategies.stages import stage_of
from strategies.strategy import block_of, next_ranked

MAX_PICKS = 200  # picks that a page may ask for
_MAX_NUMBERS = 4_000  # coordinates of a map on which a request may plan: 50 ms of the processor at most


def plan_now(context: Context, store: PoolStore, count: int) -> dict[str, Any]:
    """Return the next hand-outs of `auto`, in order.

    `note` says why there are none; `method`, what is chosen in this stage; `weighs`, if alpha counts once
    there is a model.
    """
    try:
        picks, note = [_pick(context, *one) for one in next_ranked(context, store, count)], None
    except PoolError as error:
        picks, note = [], error.text
    if not store.list_images():
        note = "There are no images."
    elif not picks and note is None:
        note = "Nothing is left to hand out: every image is labelled, skipped or in somebody's hands."
    stage = stage_of(context, PoolSnapshot.of(context, store))
    chosen, setting = context.active_alpha, context.configured_alpha
    first, later = (METHODS[name] for name in context.settings.of_auto)
    methods = {"cold_start": first, "active": later} | ({"bridging": first} if first.is_endless else {})
    return {
        "stage": stage,
        "method": f"{methods[stage].text}." if stage in methods else None,
        "picks": picks,
        "note": note,
        "alpha": chosen,
        "setting": setting,
        "weighs": "alpha" in later.parameters,
    }


def _pick(context: Context, image: str, ranking: Ranking) -> dict[str, Any]:
    """Return a pick with the details of its hand-out and, beside them, its reason in a reader's words."""
    block = block_of(context, ranking, image)
    return {"image": image, **block, "plain": plain_reason(ranking.method, block)}


class Previews:
    """Previews of the next active picks with any alpha; changes nothing in the pool. Thread-safe."""

    def __init__(self) -> None:
        self._lock, self._cache = threading.Lock(), LRUCache[Any, list[dict[str, Any]]](32)

    def picks(
        self, context: Context, store: PoolStore, alpha: float, count: int, client: str
    ) -> dict[str, Any]:
        """Return the next picks by the newest model with entropies.

        On a small map they are computed as `strategies.planning` does; with the configured alpha they are
        the plan's own picks. On a larger one they come from the plan of that alpha, which the next refresh
        makes if there is none.

        Raises PoolError 409 without a model, and while the plan is being made.
        """
        pool = PoolSnapshot.of(context, store)
        newest, layout = context.newest_plan(LATER), context.layout()
        model, plan = newest or (None, None)
        if model is None or plan is None or layout is None:
            raise PoolError(
                409,
                "alpha weighs the uncertainty of a model, and no model has been applied to the pool yet: "
                "label images, then train",
            )
        facts = {"alpha": alpha, "configured": plan.details["alpha"], "round": model.round}
        if layout.points.size > _MAX_NUMBERS:
            planned = _planned_picks(context, pool, model, alpha, client)[:count]
            return {**facts, "picks": _with_plain_reasons(planned)}
        with self._lock:  # several identical requests are computed once
            key = (version_of(context, pool), alpha, count)
            if key not in self._cache:
                planner = Planner(context)
                series = planner.series(LATER.name, alpha, Source(model.fingerprint, model))
                self._cache[key] = _with_plain_reasons(planner.choose(pool, series, count, plan).picks)
            return {**facts, "picks": self._cache[key]}


def _with_plain_reasons(picks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**pick, "plain": plain_reason(LATER, pick)} for pick in picks]


def _planned_picks(
    context: Context, pool: PoolSnapshot, model: Model, alpha: float, client: str
) -> list[dict[str, Any]]:
    """Return the free picks of a model's plan with an alpha. Raises PoolError 409 until it is made."""
    plan = context.state.plans.newest(context.plan_key(LATER, model.fingerprint, alpha))
    if plan is None:
        Planner(context).ask(LATER.name, alpha, client)
        raise PoolError(
            409,
            f"the picks with alpha {alpha:g} are being worked out, since this pool is large: they are shown "
            "in a moment",
        )
    return [pick for pick in plan.picks if pool.is_free(pick["image"])]
