"""What would be handed out next: as it is planned, and with another alpha."""

from __future__ import annotations

import threading
from typing import Any

from cachetools import LRUCache

from pool.errors import PoolError
from pool.protocol import PoolStore
from server.pages.pool_map import version_of
from strategies.context import Context
from strategies.planning.plans import pick_active, picks_of
from strategies.snapshot import PoolSnapshot
from strategies.stages import stage_of
from strategies.strategy import next_picks

MAX_PICKS = 200  # picks that a page may ask for


def plan_now(context: Context, store: PoolStore, count: int) -> dict[str, Any]:
    """What `auto` hands out next, in order; `note` says why there is nothing."""
    try:
        picks, note = next_picks(context, store, count), None
    except PoolError as error:
        picks, note = [], error.text
    if not picks and note is None:
        note = "Nothing is left to hand out: every image is labelled, skipped or in somebody's hands."
    stage = stage_of(context, PoolSnapshot.of(context, store))
    chosen, setting = context.active_alpha, context.settings.active_alpha
    return {"stage": stage, "picks": picks, "note": note, "alpha": chosen, "setting": setting}


class Previews:
    """The next active picks with any alpha; nothing is kept in the pool. Safe from any thread."""

    def __init__(self) -> None:
        self._lock, self._kept = threading.Lock(), LRUCache[Any, list[dict[str, Any]]](32)

    def picks(self, context: Context, store: PoolStore, alpha: float, count: int) -> dict[str, Any]:
        """The next `count` picks of the newest model that has entropies. Raises PoolError 409 before it.

        As `strategies.planning` makes them for the configured alpha; with that alpha they are the plan's.
        """
        pool = PoolSnapshot.of(context, store)
        found, layout = context.active_plan(context.active_alpha), context.layout()
        if found is None or layout is None:
            raise PoolError(
                409,
                "alpha weighs the uncertainty of a model, and there is none yet that has looked at the pool: "
                "label images, then train",
            )
        model, plan = found
        with self._lock:  # of several who ask for the same, one works it out
            key = (version_of(context, pool), alpha, count)
            if key not in self._kept:
                picked = pick_active(context, layout, model, pool, alpha, count, plan)
                self._kept[key] = picks_of(picked.images, picked.chosen)
            picks = self._kept[key]
        return {"alpha": alpha, "configured": plan.details["alpha"], "round": model.round, "picks": picks}
