"""Predictions of the images that come next, before anybody asks: labels with the tag `original`."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from bundle_configs import Bundle
from infers.instant.task import InstantInfer
from infers.prediction import DIGEST
from infers.segmentation.task import SegmentationInfer
from pool.errors import PoolError
from strategies.better import Candidate, candidates
from strategies.context import Context
from strategies.engine.image_pass import ImagePass
from strategies.instant import lessons_of
from strategies.snapshot import PoolSnapshot, is_unlabelled
from strategies.strategy import upcoming

logger = logging.getLogger(__name__)
TAG, BY = "original", "prelabel"  # the tag that 3D Slicer loads by itself, and the note on labels made here
_made: dict[tuple[Path, str], str] = {}  # by state folder and image: mark of the models, in this process


def to_prelabel(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the next planned images without a prediction of the newest models.

    One with a label of this tag that somebody else made is left alone.
    """
    mark = _mark(context)
    if not context.settings.prelabels or not mark:
        return []
    images = [
        i for i in upcoming(context, pool.store, context.settings.prelabels) if is_unlabelled(pool.store, i)
    ]
    folder = context.state.folder
    return [i for i in images if _made.get((folder, i)) != mark and _is_ours(pool, i, (folder, i) in _made)]


def _mark(context: Context) -> str:
    """Return what changes with any model; "" before the first."""
    head, models = context.state.heads.newest(), context.state.models.all()
    return f"{head.fingerprint if head else ''}{models[0].fingerprint if models else ''}"


def _is_ours(pool: PoolSnapshot, image: str, is_made: bool) -> bool:
    if TAG not in pool.store.get_labels_by_image_id(image):
        return True
    return is_made or pool.store.get_label_info(image, TAG).get("by") == BY


def prelabel(passes: ImagePass, bundle: Bundle) -> None:
    """Predict these images with the better model; a label saved meanwhile is learnt from first."""
    context, started = passes.context, time.time()
    todo = to_prelabel(context, PoolSnapshot.of(context, passes.datastore))
    mark, models = _mark(context), candidates(context, bundle)
    for done, image in enumerate(todo):
        if _mark(context) != mark or passes.is_behind():
            return
        _made[context.state.folder, image] = mark  # also of one that cannot be predicted: not again
        if not models:  # the file of the only one is gone
            continue
        passes.say("predicting the next images", done, len(todo), started)
        try:
            if not _predict(passes, bundle, models[0], image):
                del _made[context.state.folder, image]
                return
        except PoolError as error:
            logger.warning("No prediction of %s: %s", image, error.text)


def _predict(passes: ImagePass, bundle: Bundle, model: Candidate, image: str) -> bool:
    """Keep a prediction, unless labels were saved meanwhile: perhaps of this image, which was then reopened.

    Returns whether it was kept.
    """
    context, store = passes.context, passes.datastore
    file, said = _infer(context, bundle, model)({"image": store.get_image_uri(image), "device": "cpu"})
    try:
        if passes.is_behind():
            return False
        if digest := said.pop(DIGEST, ""):
            context.state.predictions.add(image, digest, model.name)
        info = {"model": model.name, "dice": model.dice, "by": BY, "params": said}
        store.save_label(image, file, TAG, info)
        return True
    finally:
        Path(file).unlink(missing_ok=True)


def _infer(context: Context, bundle: Bundle, model: Candidate) -> Any:
    if model.name == "segmentation":
        return SegmentationInfer(context.model_file, bundle)
    return InstantInfer(context.state.heads.newest_blob, lessons_of(context, bundle).maker, bundle)
