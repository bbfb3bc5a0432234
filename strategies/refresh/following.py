"""Steps after a model is published: validate it, score the pool, plan the round."""

from __future__ import annotations

import logging
import time
from functools import partial

from bundle_configs import Bundle
from bundle_configs.checks import check_channels
from infers.model_file import bundle_of
from infers.segmentation.task import ModelChangedError, SegmentationInfer, model_details, model_fingerprint
from pool.database.maps import Layout
from pool.dicomweb.client import ServerError
from pool.errors import PoolError
from pool.imaging.labels import LabelError
from strategies import selectors
from strategies.context import Context
from strategies.engine.image_pass import BATCH, ImagePass
from strategies.engine.workers import ScoreWorker
from strategies.planning.inputs import rows_of
from strategies.planning.planner import Planner
from strategies.planning.sources import unscored
from strategies.refresh.step import Step
from strategies.refresh.validation import to_validate, validate
from strategies.selectors.registry import Method
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)
_MAX_FARTHEST = 2_000  # images scored farthest-first; the rest follow in sorted order


def is_new_model(context: Context) -> bool:
    """Return True if the published model is not yet registered as the pool's newest."""
    published, models = model_fingerprint(context.model_file), context.state.models.all()
    return published is not None and (not models or models[0].fingerprint != published)


def follow_model(passes: ImagePass, bundle: Bundle) -> None:
    """Run the steps of the newest model; again from the first when another is published meanwhile."""
    is_newest = False
    while not is_newest:
        for step in MODEL_STEPS:
            step.run(passes, bundle)
            if is_new_model(passes.context):
                break
        else:
            is_newest = True


def _to_register(context: Context, pool: PoolSnapshot) -> list[str]:
    return ["model"] if is_new_model(context) else []


def _register(passes: ImagePass, bundle: Bundle) -> None:
    """Note a published model as the pool's newest; it is validated on the labels that are there by now."""
    context = passes.context
    if passes.is_behind():
        passes.catch_up()
    published = model_fingerprint(context.model_file)
    if published and is_new_model(context):
        details = model_details(context.model_file)
        context.state.models.add(published, details["labelled"], details)


def _validate(passes: ImagePass, bundle: Bundle) -> None:
    """Validate the newest model on the held-out images."""
    context, started = passes.context, time.time()
    todo = to_validate(context, PoolSnapshot.of(context, passes.datastore))
    infer = SegmentationInfer(context.model_file, bundle) if todo else None
    for done, image in enumerate(todo):
        if done % BATCH == 0:
            passes.say("validating", done, len(todo), started)
        assert infer is not None
        try:
            validate(context, infer, passes.datastore, image)
        except ServerError:  # the DICOM server is down: the next refresh continues
            raise
        except (PoolError, LabelError) as error:
            logger.error("Image %s is not used for validation: %s", image, error)
            model = context.state.models.all()[0].fingerprint
            context.state.validations.add(model, image, {})  # so that it is not retried for ever


def _score(passes: ImagePass, bundle: Bundle) -> None:
    """Score the unscored images; another model that is published ends the pass."""
    context = passes.context
    pool, layout = PoolSnapshot.of(context, passes.datastore), context.layout()
    todo = unscored(context, pool)
    if not todo or not layout:
        return
    newest = context.state.models.all()[0]
    model, trained = newest.fingerprint, bundle_of(newest.details)
    check_channels(context.model_file.name, trained.input_shape[1], bundle.input_shape[1])
    order = _scoring_order(context, layout, pool, todo, model)
    worker = partial(ScoreWorker, str(context.model_file), model)
    batch_size = None if bundle.get("dimensions") == 2 else 1  # volumes are large
    try:
        for results in passes.run("scoring", order, worker, batch_size):
            context.state.scores.add_entropies(model, {f.image: f.value.entropy for f in results})
            context.state.scores.add_measures(model, {f.image: f.value.measures for f in results})
            if is_new_model(context):
                return
            _plan_rounds(passes, complete=False)
    except ModelChangedError:
        return


def _scoring_order(
    context: Context, layout: Layout, pool: PoolSnapshot, todo: list[str], model: str
) -> list[str]:
    """Order the images to score farthest-first, so that an early plan already covers the whole map."""
    limit = context.settings.max_scored
    count = limit - context.state.scores.count(model) if limit else len(todo)
    rows = selectors.farthest_first(
        layout.points,
        min(count, limit or _MAX_FARTHEST),
        labelled=rows_of(layout, {*pool.labelled, *context.state.scores.entropies(model)}),
        candidates=rows_of(layout, todo),
    ).picks
    first = [layout.images[row] for row in rows]
    return (first + sorted(set(todo) - set(first)))[:count]


def _grows(method: Method) -> bool:
    return method.grows


def _plan_rounds(passes: ImagePass, complete: bool) -> None:
    planner = Planner(passes.context)
    pool = PoolSnapshot.of(passes.context, passes.datastore)
    for series in planner.due(pool, _grows, complete):
        planner.make(pool, series)


def _to_plan(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the weights of diversity without a plan of all scores, and those whose plan is used up."""
    return [str(series.alpha) for series in Planner(context).due(pool, _grows)]


MODEL_STEPS = (
    Step("model", _to_register, _register),
    Step("validate", to_validate, _validate),
    Step("entropy", unscored, _score),
    Step("active", _to_plan, lambda passes, bundle: _plan_rounds(passes, complete=True)),
)
