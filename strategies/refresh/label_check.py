"""Check final labels that came from elsewhere: only those that fit their image count."""

from __future__ import annotations

import logging
import time

from bundle_configs import Bundle
from pool.protocol import PoolStore
from strategies.context import Context
from strategies.engine.image_pass import BATCH, ImagePass
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def to_check(context: Context, pool: PoolSnapshot) -> dict[str, str]:
    """Return the images whose label or own file has changed since the check, with the fingerprint."""
    checked = context.state.label_checks.fingerprints()
    present = pool.store.label_fingerprints()
    return {image: fingerprint for image, fingerprint in present.items() if fingerprint != checked.get(image)}


def _check(store: PoolStore, image: str) -> tuple[str, list[str]]:
    """Return why a label does not count, "" for a good one, and what is not used of it."""
    notes: list[str] = []
    reason = store.check_label(image, notes)
    if reason:
        logger.error("The label of %s does not count: %s", image, reason)
    for note in notes:
        logger.warning("The label of %s: %s", image, note)
    return reason, notes


def check_labels(passes: ImagePass, bundle: Bundle) -> None:
    """Read these labels and store which count, in small batches."""
    context, store, started = passes.context, passes.datastore, time.time()
    todo = list(to_check(context, PoolSnapshot.of(context, store)).items())
    for first in range(0, len(todo), BATCH):
        passes.say("checking labels", first, len(todo), started)
        checks = [(image, print_, *_check(store, image)) for image, print_ in todo[first : first + BATCH]]
        context.state.label_checks.add([check[:3] for check in checks])
        for image, _, _, notes in checks:
            if notes:
                context.state.ledger.add("label_warnings", image, {"warnings": notes})
    store.take_in_checks(context.state.label_checks.news(store))
