"""Check final labels that came from elsewhere: only those that fit their image count."""

from __future__ import annotations

import logging
import time

from bundle_configs import Bundle
from pool.database.label_checks import NewCheck
from pool.datastore.index import FINAL
from pool.label_states import UNEDITED, UNEDITED_NOTE
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


def _check(context: Context, store: PoolStore, image: str, fingerprint: str) -> tuple[NewCheck, list[str]]:
    """Return the check of a label, and sentences on what is not used of it.

    A found label that equals a prediction waits to be confirmed, as one that a client saves does; a saved one
    keeps its state.
    """
    notes: list[str] = []
    reason, digest = store.check_label(image, notes)
    state = str(store.get_label_info(image, FINAL).get("state") or "")
    if not state and digest and context.state.predictions.has(image, digest):
        state = UNEDITED
        notes.append(UNEDITED_NOTE)
    if reason:
        logger.error("The label of %s does not count: %s", image, reason)
    for note in notes:
        logger.warning("The label of %s: %s", image, note)
    return NewCheck(image, fingerprint, reason, state, digest), notes


def check_labels(passes: ImagePass, bundle: Bundle) -> None:
    """Read these labels and store which count, in small batches."""
    context, store, started = passes.context, passes.datastore, time.time()
    todo = list(to_check(context, PoolSnapshot.of(context, store)).items())
    for first in range(0, len(todo), BATCH):
        passes.say("checking labels", first, len(todo), started)
        checks = [_check(context, store, image, print_) for image, print_ in todo[first : first + BATCH]]
        context.state.label_checks.add([check for check, _ in checks])
        for check, notes in checks:
            if notes:
                context.state.ledger.add("label_warnings", check.image, {"warnings": notes})
    store.take_in_checks(context.state.label_checks.news(store))
