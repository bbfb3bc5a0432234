"""The one scoring method, `refresh`: bring the pool up to date.

Images -> embeddings -> duplicates -> map -> cold-start plan -> what follows each label -> entropies of a new
model -> active plans -> features of the instant model.
Every step commits in small batches, so a killed process repeats at most one batch.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil
import torch
from monailabel.interfaces.tasks.scoring import ScoringMethod

from bundle_configs import Bundle
from pool.database.database import Busy
from pool.protocol import PoolStore
from strategies.context import OTSU, Context
from strategies.engine.engines import engine_of
from strategies.engine.image_pass import ImagePass
from strategies.engine.workers import ForegroundWorker
from strategies.instant import drop_encoders
from strategies.measures import FOREGROUND
from strategies.planning.planner import Planner
from strategies.planning.sources import to_threshold
from strategies.ranking.held_out import hold_out, to_hold_out
from strategies.refresh.duplicates import find_copies, print_images, to_compare, to_print
from strategies.refresh.each_label import LABEL_STEPS, keep_up, plan_all
from strategies.refresh.embedding import embed, to_embed
from strategies.refresh.following import MODEL_STEPS, follow_model, is_new_model
from strategies.refresh.growth import unmapped, update_map
from strategies.refresh.judged import judge, to_judge
from strategies.refresh.label_check import check_labels, to_check
from strategies.refresh.learning import extract, to_extract
from strategies.refresh.step import Step
from strategies.selectors.registry import Method
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def steps(context: Context) -> tuple[Step, ...]:
    """Return all steps of a refresh, in order.

    A pool whose encoder is pretrained on it is judged first, since that gives the map's features; the
    duplicates come before the map and its plans, which exclude them.
    """
    judging = (Step("judge", to_judge, _judge),)
    return (
        Step("labels", to_check, check_labels),
        Step("hold_out", to_hold_out, _hold_out),
        Step("embed", to_embed, embed),
        *(judging if context.is_pretrained_here else ()),
        Step("duplicates", _to_find, _find_duplicates),
        Step("map", unmapped, _update_map),
        Step("cold_start", due_once, _plan_once),
        *LABEL_STEPS,
        *MODEL_STEPS,
        *(() if context.is_pretrained_here else judging),
        Step("foreground", to_threshold, _measure_foreground),
        Step("", due_methods, _plan_methods),
        Step("features", to_extract, extract),
    )


def missing(context: Context, datastore: PoolStore) -> list[str]:
    """Return the names of the steps with work to do, in order; empty if all is up to date."""
    pool = PoolSnapshot.of(context, datastore)
    names: list[str] = []
    for step in steps(context):
        if todo := step.todo(context, pool):
            names += [step.name] if step.name else todo
    return names


def run(passes: ImagePass, bundle: Bundle, is_enough: Callable[[Step], bool] = lambda step: False) -> None:
    """Run all steps; those of the model again when another is published meanwhile.

    :param is_enough: called after each step; True ends the run early
    """
    for step in steps(passes.context):
        if step is MODEL_STEPS[0]:
            follow_model(passes, bundle)
        elif step not in MODEL_STEPS:
            step.run(passes, bundle)
        make_room(passes.context)
        if is_enough(step):
            return


def make_room(context: Context) -> None:
    """Give back the GPU memory of finished work, and for a training that of the encoder kept for labels."""
    if torch.cuda.is_initialized():
        drop_encoders(context)
        gc.collect()
        torch.cuda.empty_cache()


def _hold_out(passes: ImagePass, bundle: Bundle) -> None:
    hold_out(passes.context, PoolSnapshot.of(passes.context, passes.datastore))


def _to_find(context: Context, pool: PoolSnapshot) -> list[str]:
    return to_print(context, pool) or to_compare(context)


def _find_duplicates(passes: ImagePass, bundle: Bundle) -> None:
    print_images(passes, bundle)
    started, pool = time.time(), PoolSnapshot.of(passes.context, passes.datastore)
    for done, total in find_copies(passes.context, pool):
        passes.say("looking for duplicates", done, total, started)


def _update_map(passes: ImagePass, bundle: Bundle) -> None:
    pool = PoolSnapshot.of(passes.context, passes.datastore)
    if new := unmapped(passes.context, pool):
        update_map(passes.context, pool, new, lambda step, n: passes.say(step, 0, n, time.time()))


def due_once(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the methods that plan once for the whole pool, and have no plan yet."""
    return [series.method.name for series in Planner(context).due(pool, lambda method: method.whole_pool)]


def _plan_once(passes: ImagePass, bundle: Bundle) -> None:
    planner, pool = Planner(passes.context), PoolSnapshot.of(passes.context, passes.datastore)
    for series in planner.due(pool, lambda method: method.whole_pool):
        passes.say("planning the cold start", 0, 1, time.time())
        planner.make(pool, series)


def _judge(passes: ImagePass, bundle: Bundle) -> None:
    """Judge volumes with the pretrained network; a newly published model does not have to wait."""
    started = time.time()
    for done, total in judge(passes.context, passes.datastore, bundle.input_shape[1]):
        passes.say("judging with the pretrained network", done, total, started)
        if is_new_model(passes.context):
            follow_model(passes, bundle)


def _measure_foreground(passes: ImagePass, bundle: Bundle) -> None:
    context = passes.context
    if todo := to_threshold(context, PoolSnapshot.of(context, passes.datastore)):
        worker = partial(ForegroundWorker, bundle.name, bundle.values)
        for results in passes.run("measuring foreground", todo, worker):
            context.state.scores.add_measures(OTSU, {f.image: {FOREGROUND: f.value} for f in results})


def due_methods(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the other methods that can be planned and have no plan from their present source."""
    return [series.method.name for series in Planner(context).due(pool, _is_plain)]


def _is_plain(method: Method) -> bool:
    return not (method.grows or method.whole_pool or method.each_label)


def _plan_methods(passes: ImagePass, bundle: Bundle) -> None:
    pool = PoolSnapshot.of(passes.context, passes.datastore)
    plan_all(passes, pool, due_methods(passes.context, pool))


class _MemoryCheck:
    """True after a step if this process is too large; not before a due step has run, so that work advances.

    :param due: names of the steps with work
    """

    def __init__(self, due: list[str], max_bytes: int) -> None:
        self._due, self._max_bytes, self._has_worked = set(due), max_bytes, False

    def __call__(self, step: Step) -> bool:
        self._has_worked = self._has_worked or not step.name or step.name in self._due
        return self._has_worked and psutil.Process().memory_info().rss > self._max_bytes


class Refresh(ScoringMethod):
    """Brings the pool's state up to date; resumable, safe to start at any time.

    :param bundle: describes the images
    """

    def __init__(self, context: Context, bundle: Bundle) -> None:
        super().__init__("Embeds images, lays out the map, scores entropy and plans what to label next")
        self.context, self.bundle = context, bundle

    def __call__(self, request: dict[str, Any], datastore: PoolStore) -> dict[str, Any]:
        """Run the due steps and return {"steps": names}; a failure becomes the pool's error and is raised.

        With `max_bytes` in the request, the run ends after the first step past which this process uses more
        memory; the steps that are left stay due.
        """
        state, max_bytes = self.context.state, request.get("max_bytes")
        try:
            with state.exclusive("refresh"):
                before = state.progress.get() or {"error": None}
                state.progress.set("checking", 0, 0, time.time(), error=before["error"])
                steps = missing(self.context, datastore)
                passes = ImagePass(self.context, datastore, engine_of(self.context.settings))
                passes.between = partial(keep_up, passes, self.bundle)
                run(passes, self.bundle, _MemoryCheck(steps, max_bytes) if max_bytes else lambda step: False)
                state.progress.set("ready", 0, 0, time.time())
                return {"steps": steps}
        except Busy:
            logger.info("Another refresh of this pool is running; skipping this one")
            return {"steps": []}
        except Exception as error:
            state.progress.set("failed", 0, 0, time.time(), error=f"{type(error).__name__}: {error}")
            raise
