"""The instant model: a head fitted after each label, its view of the pool, and features of all images."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from functools import partial
from itertools import chain
from statistics import median

from bundle_configs import Bundle
from infers.instant.features import Reduction, drawn, fit_reduction
from infers.instant.head import Head, HeadError
from infers.instant.judging import judge_pool
from infers.instant.model import FeatureMaker, InstantModel, read_model
from infers.instant.planes import Planes
from infers.threads import one_thread
from pool.database.heads import source_name
from pool.errors import PoolError
from pool.imaging.errors import ImageError
from strategies.context import Context
from strategies.engine.image_pass import BATCH, ImagePass
from strategies.engine.workers import FeatureWorker
from strategies.instant import LabelFile, digest_of, feature_cache, lessons_of, shows_something
from strategies.measures import FOREGROUND
from strategies.snapshot import PoolSnapshot
from trainers.instant.fit import fit
from trainers.instant.labelled import Labelled

logger = logging.getLogger(__name__)
# facts of a head: its labels, the images whose features it has judged, and all images then
_DIGEST, _JUDGED, _IMAGES = "digest", "judged", "images"
_useless: set[str] = set()  # digests of labels that no head could be fitted on, in this process


def to_learn(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return what is to do for the newest head: it lacks a label, or many more images can be judged."""
    if not context.settings.instant:
        return []
    labels, head = _labels_of(pool), context.state.heads.newest()
    if not labels:
        return ["instant"] if head else []
    digest = digest_of(labels)
    if head is None or head.facts.get(_DIGEST) != digest:
        return [] if digest in _useless else ["instant"]
    known, judged = len(feature_cache(context).coarse_images()), head.facts[_JUDGED]
    has_grown = known > judged or len(pool.images) > head.facts[_IMAGES]
    return ["instant"] if has_grown and (known >= 2 * judged > 0 or not to_extract(context, pool)) else []


def _labels_of(pool: PoolSnapshot) -> dict[str, str]:
    """Return the labels to learn from with their fingerprints."""
    return pool.store.label_fingerprints(pool.labelled)


def learn(passes: ImagePass, bundle: Bundle) -> None:
    """Fit a head on the labels as they are now, and let it judge the pool."""
    context, started = passes.context, time.time()
    pool = PoolSnapshot.of(context, passes.datastore)
    if not to_learn(context, pool):
        return
    labels = _labels_of(pool)
    if not labels:
        context.state.heads.clear()
        return
    passes.say("learning from the labels", 0, len(labels), started)
    teacher = lessons_of(context, bundle)
    reduction = _reduction(passes, bundle)
    lessons = teacher.of(list(_files(pool, labels)), reduction) if reduction else {}
    for image, reason in teacher.unreadable.items():
        logger.error("The instant model cannot learn from image %s: %s", image, reason)
    digest = digest_of(labels)
    if reduction is None or not lessons:
        _useless.add(digest)
        return
    values: dict[str, int] = bundle.get("labels")
    known = len(feature_cache(context).coarse_images())
    knows = f"{digest}|{reduction.key}|{known}|{len(pool.images)}"
    fingerprint = hashlib.sha256(knows.encode()).hexdigest()[:32]
    with one_thread():
        head = fit(list(lessons.values()), reduction.key, list(values.values()), context.settings.seed)
        _judge(context, pool, head, source_name(fingerprint), lessons)
    facts = {
        "labels": {name: head.shown[value] for name, value in values.items()},
        "dice": head.dice,
        "dice_of": {name: head.quality.get(value) for name, value in values.items()},
        "seed": head.seed,
        "seconds": round(time.time() - started, 2),
        _DIGEST: digest,
        _JUDGED: known,
        _IMAGES: len(pool.images),
    }
    data = InstantModel(head, reduction).to_bytes()
    context.state.heads.add(reduction.key, fingerprint, len(lessons), data, facts)


def _judge(
    context: Context, pool: PoolSnapshot, head: Head, source: str, lessons: dict[str, Labelled]
) -> None:
    """Store the head's uncertainty and its chance of foreground for each unlabelled image.

    Images without features yet get the median of the others, so that they are neither sought nor avoided; a
    labelled image has the foreground that its label shows.
    """
    blocks = feature_cache(context).coarse(pool.fingerprints)
    judged = dict(judge_pool(head, blocks))
    unsure = {image: found.foreground_entropy or found.entropy for image, found in judged.items()}
    shows = {image: found.anything for image, found in judged.items()}
    usual = (median(unsure.values()), median(shows.values())) if judged else (1.0, 0.5)
    for image in pool.unlabelled:
        unsure.setdefault(image, usual[0])
        shows.setdefault(image, usual[1])
    shows |= {image: float(shows_something(lesson)) for image, lesson in lessons.items()}
    context.state.scores.add_entropies(source, unsure)
    context.state.scores.add_measures(source, {image: {FOREGROUND: p} for image, p in shows.items()})


def _files(pool: PoolSnapshot, labels: dict[str, str]) -> Iterator[LabelFile]:
    images, store = list(labels), pool.store
    groups = pool.group_rows(images) or [""] * len(images)
    own = store.fingerprints(images)
    for image, group in zip(images, groups, strict=True):
        try:
            paths = store.get_image_uri(image), store.get_label_uri(image, "final")
        except (ImageError, PoolError, ValueError) as error:  # of a DICOM server
            logger.error("The instant model cannot learn from image %s: %s", image, error)
            continue
        if all(paths) and image in own:
            yield LabelFile(image, paths[0], own[image], paths[1], labels[image], group)


def _reduction(passes: ImagePass, bundle: Bundle) -> Reduction | None:
    """Return the reduction of the pool's features: that of the newest head, the stored one, or a new one."""
    context = passes.context
    cache, maker = feature_cache(context), lessons_of(context, bundle).maker
    stored, newest = cache.reduction(), context.state.heads.newest()
    if newest:
        try:
            shared = read_model(newest.blob).reduction
        except HeadError as error:
            logger.warning("%s", error)
        else:
            if maker.fits(shared):
                return shared if stored and stored.key == shared.key else cache.replace_reduction(shared)
    if stored and maker.fits(stored):
        return stored
    sample = _sample(passes, maker)
    if (first := next(sample, None)) is None:
        return None
    planes = chain([first], sample)  # read one by one
    return cache.replace_reduction(fit_reduction(maker.encoder, planes, context.settings.seed))


def _sample(passes: ImagePass, maker: FeatureMaker) -> Iterator[Planes]:
    """Yield the planes of some images; one that cannot be read is passed over."""
    store, started = passes.datastore, time.time()
    pool = PoolSnapshot.of(passes.context, store)
    chosen = drawn([image for image in pool.images if image not in pool.failed], passes.context.settings.seed)
    for done, image in enumerate(chosen):
        if done % BATCH == 0:
            passes.say("looking at a sample of the images", done, len(chosen), started)
        try:
            yield maker.planes(store.get_image_uri(image))
        except (ImageError, PoolError) as error:
            logger.warning("Image %s is not in the sample: %s", image, error)


def to_extract(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the images without features of their present file, unless the disk space for them is used up."""
    cache = feature_cache(context)
    if not context.settings.instant or cache.is_full:
        return []
    known = cache.coarse_images()
    return [i for i, f in pool.fingerprints.items() if (i, f) not in known and i not in pool.failed]


def extract(passes: ImagePass, bundle: Bundle) -> None:
    """Compute the features of all images on the coarse grid; labels saved meanwhile are learnt from."""
    context = passes.context
    pool = PoolSnapshot.of(context, passes.datastore)
    todo = to_extract(context, pool)
    reduction = _reduction(passes, bundle) if todo else None
    if reduction is None:
        return
    cache, settings = feature_cache(context), context.settings
    cache.clean()
    cache.prune(pool.fingerprints)
    weights = settings.encoder_weights or None
    worker = partial(
        FeatureWorker, settings.encoder, weights, bundle.name, bundle.values, reduction.to_bytes()
    )
    for results in passes.run("computing features", todo, worker):
        if not cache.add_coarse([(f.image, f.fingerprint, f.value) for f in results]):
            logger.warning("The features of the instant model use all of %g GiB", settings.instant_gigabytes)
            return
