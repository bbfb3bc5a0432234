"""Images marked to come next, and images held out of training to validate models on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from pool.database.marks import HELD_OUT, Mark
from strategies.context import Context
from strategies.measuring import DRAWN, DRAWN_SINGLY, is_one_due
from strategies.ranking.rank import Ranking
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def marked_ranking(marks: Sequence[Mark], stage: str, role: str) -> Ranking:
    """Rank marked images in the order they were marked, with the client who marked them.

    :param role: "marked", "reopened" or "validation"
    """
    evidence = {mark.image: {"role": role, "marked_by": mark.client, "why": mark.reason} for mark in marks}
    return Ranking(f"marks|{role}", stage, list(evidence), evidence)


def to_hold_out(context: Context, pool: PoolSnapshot) -> list[str]:
    """Draw the images that `validation_budget` or `hold_out` requires beyond those already held out.

    Drawn at random with the pool's seed from images that are free and unmarked, or have a free duplicate;
    whole patients at a time (`groups`), and never more than half of the pool.
    """
    missing = context.settings.validation_budget - len(pool.measured_on)
    if missing <= 0 and is_one_due(context, pool):
        missing = 1
    limit = len(pool.images) // 2 - len(pool.held_out)
    if min(missing, limit) <= 0:
        return []
    groups = pool.group_rows(pool.images) or pool.images
    members: dict[str, list[str]] = {}
    for image, group in zip(pool.images, groups, strict=True):
        members.setdefault(group, []).append(image)
    touched = {mark.image for mark in pool.marks}
    free = {i for i in pool.images if pool.is_free(i) and i not in touched}
    complete = [
        images
        for images in members.values()
        if all(i in free or not free.isdisjoint(pool.copies.get(i, ())) for i in images)
    ]
    drawn: list[str] = []
    for row in np.random.default_rng(context.settings.seed).permutation(len(complete)):
        if len(drawn) >= missing:
            break
        if len(drawn) + len(complete[row]) <= limit:
            drawn += complete[row]
    return drawn


def hold_out(context: Context, pool: PoolSnapshot) -> None:
    """Draw the missing held-out images and store them."""
    if drawn := to_hold_out(context, pool):
        reason = f"drawn at random, seed {context.settings.seed}"
        at_once = context.settings.validation_budget > len(pool.measured_on)
        context.state.marks.put(HELD_OUT, drawn, DRAWN if at_once else DRAWN_SINGLY, reason)
        logger.info("%d images are held out for validation: %s", len(drawn), reason)
