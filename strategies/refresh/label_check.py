"""Check final labels that came from elsewhere: only those that fit their image count."""

from __future__ import annotations

import logging
import time

from bundle_configs import Bundle
from strategies.context import Context
from strategies.engine.image_pass import BATCH, ImagePass
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def to_check(context: Context, pool: PoolSnapshot) -> dict[str, str]:
    """Return the images whose label or own file has changed since the check, with the fingerprint."""
    checked = context.state.label_checks.fingerprints()
    present = pool.store.label_fingerprints()
    return {image: fingerprint for image, fingerprint in present.items() if fingerprint != checked.get(image)}


def check_labels(passes: ImagePass, bundle: Bundle) -> None:
    """Read these labels and store which count, in small batches."""
    context, store, started = passes.context, passes.datastore, time.time()
    todo = list(to_check(context, PoolSnapshot.of(context, store)).items())
    for first in range(0, len(todo), BATCH):
        passes.say("checking labels", first, len(todo), started)
        checks = [
            (image, fingerprint, store.check_label(image))
            for image, fingerprint in todo[first : first + BATCH]
        ]
        for image, _, reason in checks:
            if reason:
                logger.error("The label of %s does not count: %s", image, reason)
        context.state.label_checks.add(checks)
    store.take_in_checks(context.state.label_checks.news(store))
