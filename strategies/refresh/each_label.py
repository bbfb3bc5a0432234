"""The steps after each label: learn from it, plan anew, predict the next images; also amid longer steps."""

from __future__ import annotations

import logging
import time
from functools import cache

import numpy as np

from bundle_configs import Bundle
from strategies.context import Context
from strategies.engine.image_pass import ImagePass
from strategies.planning.planner import Planner
from strategies.planning.sources import NotReadyError
from strategies.refresh.learning import learn, to_learn
from strategies.refresh.prelabels import prelabel, to_prelabel
from strategies.refresh.step import Step
from strategies.selectors.registry import METHODS
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def due_each_label(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the methods to plan because a label has come or gone, or an instant head has."""
    return [s.method.name for s in Planner(context).due(pool, lambda method: method.each_label)]


def _plan_each_label(passes: ImagePass, bundle: Bundle) -> None:
    pool = PoolSnapshot.of(passes.context, passes.datastore)
    plan_all(passes, pool, due_each_label(passes.context, pool))


def plan_all(passes: ImagePass, pool: PoolSnapshot, names: list[str]) -> None:
    """Plan by these methods; one that lacks something is planned later."""
    planner = Planner(passes.context)
    for name in names:
        passes.say(f"planning {name}", 0, 1, time.time())
        try:
            planner.make(pool, planner.series(name))
        except NotReadyError as reason:  # another network was published meanwhile
            logger.info("%s is planned later: %s", name, reason)


LABEL_STEPS = (
    Step("instant", to_learn, learn),
    Step("each_label", due_each_label, _plan_each_label),
    Step("prelabels", to_prelabel, prelabel),
)


def warm_up(context: Context) -> None:
    """Compile the loops of these plans while nobody waits for one: it takes seconds in each process."""
    if any(METHODS[name].each_label for name in context.settings.used):
        _compile_loops()


@cache
def _compile_loops() -> None:
    from strategies.selectors.numerics.tail_mean import tail_means  # imports numba

    tail_means(np.ones((1, 1)), np.ones(1), 1.0)


def keep_up(passes: ImagePass, bundle: Bundle) -> None:
    """Run these steps for labels that were saved during a longer step; cheap when there are none."""
    if not passes.is_behind():
        return
    passes.catch_up()
    for step in LABEL_STEPS:
        step.run(passes, bundle)
