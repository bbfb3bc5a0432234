"""The one scoring method: it does what is missing, and nothing else.

Images -> embeddings -> copies -> map -> cold-start plan -> entropies of a new model -> active plans. Every
step commits in small batches, so that a killed process repeats at most one batch.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.scoring import ScoringMethod

from bundle_configs import Bundle
from bundle_configs.checks import check_channels
from infers.pool_encoder import make_pool_encoder, pool_reader
from infers.segmentation import Predictor, SegmentationInfer, model_details, model_fingerprint
from pool.database import Busy
from pool.dicom_server import ServerError
from pool.images import ImageError
from pool.labels import LabelError
from pool.store import PoolStore
from strategies import selectors
from strategies.context import Context, marks
from strategies.copies import find_copies, keep_prints, read_for_print, to_compare, to_print
from strategies.growth import unmapped, update_map
from strategies.held_out import hold_out, to_hold_out
from strategies.judged import judge, to_judge
from strategies.methods import OTSU, NotReadyError, due_methods, make_method_plan
from strategies.plans import (
    active_plan_due,
    make_active_plan,
    make_cold_plan,
    planned_alphas,
    rows_of,
    unscored,
)
from strategies.pool_now import Pool
from strategies.scoring import FOREGROUND, judge_prediction, thresholded_foreground
from strategies.validation import to_validate, validate

logger = logging.getLogger(__name__)
_BATCH = 8  # images between two commits
_ORDERED = 2_000  # images scored farthest-first before the rest follow in sorted order


def to_embed(context: Context, datastore: PoolStore, pool: Pool) -> dict[str, str]:
    """Images without an embedding of their present file, with its fingerprint; failed ones when changed."""
    if context.is_pretrained_here:
        return {}  # comes with `judge`
    have = context.state.embedded(context.encoder_key)
    failed = {image: mark for image, (mark, _) in context.state.failures().items()}
    return {
        image: mark
        for image, mark in marks(datastore, pool.images).items()
        if mark != failed.get(image, have.get(image))
    }


def missing(context: Context, datastore: PoolStore) -> list[str]:
    """Steps that have work to do, in order; empty when all is up to date."""
    pool, state = Pool.of(context, datastore), context.state
    models, steps = state.models(), []
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
    if context.layout() and state.journal.plan(context.cold_key) is None:
        steps.append("cold_start")
    published = model_fingerprint(context.model_file)
    if published and (not models or models[0].fingerprint != published):
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


def to_threshold(context: Context, pool: Pool) -> list[str]:
    """Images whose foreground is wanted before there is a model."""
    if "foreground_random" not in context.settings.methods or context.state.models():
        return []
    have = context.state.measures(OTSU).get(FOREGROUND, {})
    return [image for image in pool.unlabelled if image not in have]


class Refresh(ScoringMethod):
    """Brings the pool's state up to date; resumable, safe to start at any time.

    :param bundle: says what the images are
    """

    def __init__(self, context: Context, bundle: Bundle) -> None:
        super().__init__("Embeds images, lays out the map, scores entropy and plans what to label next")
        self.context, self.bundle = context, bundle

    def __call__(self, request: dict[str, Any], datastore: PoolStore) -> dict[str, Any]:
        """Returns {"steps": what there was to do}. A failure is kept as the pool's error and raised again."""
        state = self.context.state
        try:
            with state.exclusive("refresh"):
                before = state.journal.progress() or {"error": None}
                state.journal.set_progress("checking", 0, 0, time.time(), error=before["error"])
                steps = missing(self.context, datastore)
                self._run(datastore)
                state.journal.set_progress("ready", 0, 0, time.time())
                return {"steps": steps}
        except Busy:
            logger.info("Another refresh of this pool is running; nothing to do")
            return {"steps": []}
        except Exception as error:
            state.journal.set_progress("failed", 0, 0, time.time(), error=f"{type(error).__name__}: {error}")
            raise

    def _run(self, datastore: PoolStore) -> None:
        hold_out(self.context, Pool.of(self.context, datastore))
        self._embed(datastore)
        if self.context.is_pretrained_here:
            self._judge(datastore)
        self._find_copies(datastore)
        pool = Pool.of(self.context, datastore)
        if new := unmapped(self.context, pool):
            update_map(self.context, pool, new, lambda step, n: self._step(step, 0, n, time.time()))
        layout = self.context.layout()
        if layout and self.context.state.journal.plan(self.context.cold_key) is None:
            self._step("planning the cold start", 0, 1, time.time())
            make_cold_plan(self.context, layout, pool)
        self._follow_model(datastore)
        self._judge(datastore)
        self._threshold(datastore)
        pool = Pool.of(self.context, datastore)
        for name in due_methods(self.context, pool):
            self._step(f"planning {name}", 0, 1, time.time())
            try:
                make_method_plan(self.context, pool, name)
            except NotReadyError as reason:  # another network was published meanwhile
                logger.info("%s is planned later: %s", name, reason)

    def _find_copies(self, datastore: PoolStore) -> None:
        """Before the map and its plans, which leave copies out."""
        todo = to_print(self.context, datastore, Pool.of(self.context, datastore))
        read = read_for_print(self.bundle)

        def look(images: Sequence[str]) -> None:
            found: dict[str, Any] = {}
            for image in images:
                try:
                    found[image] = read(datastore.get_image_uri(image))
                except ImageError as error:
                    self._leave_out(datastore, image, error)
            keep_prints(self.context, todo, found)

        if todo:
            self._in_batches("reading images to look for duplicates", list(todo), look)
        started = time.time()
        for done, total in find_copies(self.context, Pool.of(self.context, datastore)):
            self._step("looking for duplicates", done, total, started)

    def _threshold(self, datastore: PoolStore) -> None:
        read = pool_reader(self.bundle)

        def measure(images: Sequence[str]) -> None:
            found: dict[str, dict[str, float]] = {}
            for image in images:
                try:
                    array = read(datastore.get_image_uri(image))
                    found[image] = {FOREGROUND: thresholded_foreground(array)}
                except ImageError as error:
                    self._leave_out(datastore, image, error)
            self.context.state.add_measures(OTSU, found)

        if todo := to_threshold(self.context, Pool.of(self.context, datastore)):
            self._in_batches("measuring foreground", todo, measure)

    def _leave_out(self, datastore: PoolStore, image: str, error: ImageError) -> None:
        logger.error("Image %s is left out: %s", image, error)
        self.context.state.add_failure(image, marks(datastore, [image]).get(image, ""), str(error))

    def _follow_model(self, datastore: PoolStore) -> None:
        self._register_model()
        self._validate(datastore)
        self._score(datastore, Pool.of(self.context, datastore))
        self._plan_active(datastore, complete=True)

    def _validate(self, datastore: PoolStore) -> None:
        """Measure the newest model on the held-out images."""
        todo = to_validate(self.context, Pool.of(self.context, datastore))
        if not todo:
            return
        infer = SegmentationInfer(self.context.model_file, self.bundle)

        def measure(images: Sequence[str]) -> None:
            for image in images:
                try:
                    validate(self.context, infer, datastore, image)
                except ServerError:  # the DICOM server is down: the next refresh goes on
                    raise
                except (HTTPException, LabelError) as error:
                    logger.error("Nothing is measured on %s: %s", image, error)
                    model = self.context.state.models()[0].fingerprint
                    self.context.state.add_validation(model, image, {})  # so that it is not tried for ever

        self._in_batches("validating", todo, measure)

    def _step(self, step: str, done: int, total: int, started: float) -> None:
        self.context.state.journal.set_progress(step, done, total, started)
        logger.info("Refresh: %s, %d of %d (pid %d)", step, done, total, os.getpid())

    def _in_batches(self, step: str, images: Sequence[str], work: Callable[[Sequence[str]], None]) -> None:
        started = time.time()
        for i in range(0, len(images), _BATCH):
            self._step(step, i, len(images), started)
            work(images[i : i + _BATCH])
        self._step(step, len(images), len(images), started)

    def _embed(self, datastore: PoolStore) -> None:
        todo = to_embed(self.context, datastore, Pool.of(self.context, datastore))
        if not todo:
            return
        self._step("loading the encoder", 0, len(todo), time.time())
        settings = self.context.settings
        encoder = make_pool_encoder(settings.encoder, settings.encoder_weights or None, self.bundle)

        def embed(images: Sequence[str]) -> None:
            readable: dict[str, Any] = {}
            for image in images:
                try:
                    readable[image] = encoder.read(datastore.get_image_uri(image))
                except ImageError as error:
                    logger.error("Image %s is left out: %s", image, error)
                    self.context.state.add_failure(image, todo[image], str(error))
            if self.bundle.get("dimensions") == 2:  # so that each is read once
                keep_prints(self.context, todo, readable)
            if readable:
                vectors = encoder.embed(list(readable.values()))
                self.context.state.add_embeddings(
                    encoder.key, [(i, todo[i], v) for i, v in zip(readable, vectors, strict=True)]
                )

        self._in_batches("embedding", list(todo), embed)

    def _judge(self, datastore: PoolStore) -> None:
        """Features and uncertainty by the pretrained network; a model that comes meanwhile does not wait."""
        started = time.time()
        for done, total in judge(self.context, datastore, self.bundle.input_shape[1]):
            self._step("judging with the pretrained network", done, total, started)
            models, published = self.context.state.models(), model_fingerprint(self.context.model_file)
            if published and (not models or models[0].fingerprint != published):
                self._follow_model(datastore)

    def _register_model(self) -> None:
        published, models = model_fingerprint(self.context.model_file), self.context.state.models()
        if published and (not models or models[0].fingerprint != published):
            details = model_details(self.context.model_file)
            self.context.state.add_model(published, details["labelled"], details)

    def _score(self, datastore: PoolStore, pool: Pool) -> None:
        """Entropies in farthest-first order over the map, so that an early plan already sees all of it."""
        todo, layout = unscored(self.context, pool), self.context.layout()
        if not todo or not layout:
            return
        model, most = self.context.state.models()[0].fingerprint, self.context.settings.max_scored
        wanted = most - self.context.state.count_entropies(model) if most else len(todo)
        rows = selectors.farthest_first(
            layout.points,
            min(wanted, most or _ORDERED),
            labelled=rows_of(layout, {*pool.labelled, *self.context.state.entropies(model)}),
            candidates=rows_of(layout, todo),
        ).picks
        first = [layout.images[row] for row in rows]
        predict = Predictor(self.context.model_file)
        if model_fingerprint(self.context.model_file) != model:  # a newer one was published meanwhile
            self._register_model()
            return self._score(datastore, pool)
        check_channels(self.context.model_file.name, predict.channels, self.bundle.input_shape[1])

        def score(images: Sequence[str]) -> None:
            values: dict[str, float] = {}
            measures: dict[str, dict[str, float]] = {}
            for image in images:
                try:
                    values[image], measures[image] = judge_prediction(predict, datastore.get_image_uri(image))
                except ImageError as error:
                    self._leave_out(datastore, image, error)
            if values:
                self.context.state.add_entropies(model, values)
                self.context.state.add_measures(model, measures)
            self._plan_active(datastore, complete=False)

        self._in_batches("scoring", (first + sorted(set(todo) - set(first)))[:wanted], score)

    def _plan_active(self, datastore: PoolStore, complete: bool) -> None:
        models, layout = self.context.state.models(), self.context.layout()
        for alpha in planned_alphas(self.context) if models and layout else []:
            assert layout is not None
            if active_plan_due(self.context, models[0].fingerprint, alpha, complete):
                make_active_plan(self.context, layout, models[0], alpha, Pool.of(self.context, datastore))
