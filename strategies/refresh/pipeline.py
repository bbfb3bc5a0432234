"""The one scoring method, `refresh`: bring the pool up to date.

Images -> embeddings -> duplicates -> map -> cold-start plan -> entropies of a new model -> active plans.
Every step commits in small batches, so a killed process repeats at most one batch.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from monailabel.interfaces.tasks.scoring import ScoringMethod

from bundle_configs import Bundle
from pool.database.database import Busy
from pool.protocol import PoolStore
from strategies.context import Context
from strategies.engine.engines import engine_of
from strategies.engine.image_pass import ImagePass
from strategies.engine.workers import ForegroundWorker
from strategies.planning.methods import OTSU, NotReadyError, due_methods, make_method_plan
from strategies.planning.plans import active_plan_due, make_cold_plan, planned_alphas, unscored
from strategies.ranking.held_out import hold_out, to_hold_out
from strategies.refresh.duplicates import find_copies, print_images, to_compare, to_print
from strategies.refresh.embedding import embed, to_embed
from strategies.refresh.following import follow_model, is_new_model
from strategies.refresh.growth import unmapped, update_map
from strategies.refresh.judged import judge, to_judge
from strategies.refresh.validation import to_validate
from strategies.scoring import FOREGROUND
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def missing(context: Context, datastore: PoolStore) -> list[str]:
    """Return the steps with work to do, in order; empty if all is up to date."""
    pool, state = PoolSnapshot.of(context, datastore), context.state
    models, steps = state.models.all(), []
    if to_hold_out(context, pool):
        steps.append("hold_out")
    if to_embed(context, datastore, pool):
        steps.append("embed")
    if to_judge(context, datastore):
        steps.append("judge")
    if to_print(context, datastore, pool) or to_compare(context):
        steps.append("duplicates")
    if unmapped(context, pool):
        steps.append("map")
    if context.layout() and state.plans.newest(context.cold_key) is None:
        steps.append("cold_start")
    if is_new_model(context):
        steps.append("model")
    if to_validate(context, pool):
        steps.append("validate")
    if unscored(context, pool):
        steps.append("entropy")
    elif models and any(
        active_plan_due(context, models[0].fingerprint, a, complete=True) for a in planned_alphas(context)
    ):
        steps.append("active")
    if to_threshold(context, pool):
        steps.append("foreground")
    return steps + due_methods(context, pool)


def to_threshold(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the images whose foreground share is needed before there is a model."""
    if "foreground_random" not in context.settings.methods or context.state.models.all():
        return []
    foreground = context.state.scores.measures(OTSU).get(FOREGROUND, {})
    return [image for image in pool.unlabelled if image not in foreground]


class Refresh(ScoringMethod):
    """Brings the pool's state up to date; resumable, safe to start at any time.

    :param bundle: describes the images
    """

    def __init__(self, context: Context, bundle: Bundle) -> None:
        super().__init__("Embeds images, lays out the map, scores entropy and plans what to label next")
        self.context, self.bundle = context, bundle

    def __call__(self, request: dict[str, Any], datastore: PoolStore) -> dict[str, Any]:
        """Run the due steps and return {"steps": names}; a failure becomes the pool's error and is raised."""
        state = self.context.state
        try:
            with state.exclusive("refresh"):
                before = state.progress.get() or {"error": None}
                state.progress.set("checking", 0, 0, time.time(), error=before["error"])
                steps = missing(self.context, datastore)
                self._run(ImagePass(self.context, datastore, engine_of(self.context.settings)))
                state.progress.set("ready", 0, 0, time.time())
                return {"steps": steps}
        except Busy:
            logger.info("Another refresh of this pool is running; skipping this one")
            return {"steps": []}
        except Exception as error:
            state.progress.set("failed", 0, 0, time.time(), error=f"{type(error).__name__}: {error}")
            raise

    def _run(self, passes: ImagePass) -> None:
        hold_out(self.context, self._pool(passes))
        embed(passes, self.bundle)
        if self.context.is_pretrained_here:
            self._judge(passes)
        self._find_duplicates(passes)  # before the map and its plans, which exclude duplicates
        self._update_map(passes)
        follow_model(passes, self.bundle)
        self._judge(passes)
        self._measure_foreground(passes)
        pool = self._pool(passes)
        for name in due_methods(self.context, pool):
            passes.say(f"planning {name}", 0, 1, time.time())
            try:
                make_method_plan(self.context, pool, name)
            except NotReadyError as reason:  # another network was published meanwhile
                logger.info("%s is planned later: %s", name, reason)

    def _pool(self, passes: ImagePass) -> PoolSnapshot:
        return PoolSnapshot.of(self.context, passes.datastore)

    def _find_duplicates(self, passes: ImagePass) -> None:
        print_images(passes, self.bundle)
        started = time.time()
        for done, total in find_copies(self.context, self._pool(passes)):
            passes.say("looking for duplicates", done, total, started)

    def _update_map(self, passes: ImagePass) -> None:
        pool = self._pool(passes)
        if new := unmapped(self.context, pool):
            update_map(self.context, pool, new, lambda step, n: passes.say(step, 0, n, time.time()))
        layout = self.context.layout()
        if layout and self.context.state.plans.newest(self.context.cold_key) is None:
            passes.say("planning the cold start", 0, 1, time.time())
            make_cold_plan(self.context, layout, pool)

    def _measure_foreground(self, passes: ImagePass) -> None:
        if todo := to_threshold(self.context, self._pool(passes)):
            worker = partial(ForegroundWorker, self.bundle.name, self.bundle.values)
            for results in passes.run("measuring foreground", todo, worker):
                self.context.state.scores.add_measures(
                    OTSU, {f.image: {FOREGROUND: f.value} for f in results}
                )

    def _judge(self, passes: ImagePass) -> None:
        """Judge volumes with the pretrained network; a newly published model does not have to wait."""
        started = time.time()
        for done, total in judge(self.context, passes.datastore, self.bundle.input_shape[1]):
            passes.say("judging with the pretrained network", done, total, started)
            if is_new_model(self.context):
                follow_model(passes, self.bundle)
