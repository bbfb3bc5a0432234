"""Images that a lead marked: those wanted next, and those held out of training to measure models on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from pool.database.marks import HELD_OUT, Mark
from strategies.context import Context
from strategies.ranking.rank import Ranking
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)
DRAWN = "validation_budget"  # who holds out what was drawn


def marked_ranking(marks: Sequence[Mark], stage: str, role: str) -> Ranking:
    """Marked images in the order in which they were marked, and who marked them.

    :param role: "marked" or "validation"
    """
    evidence = {mark.image: {"role": role, "marked_by": mark.client, "why": mark.reason} for mark in marks}
    return Ranking(f"marks|{role}", stage, list(evidence), evidence)


def to_hold_out(context: Context, pool: PoolSnapshot) -> list[str]:
    """Images to draw for validation: what `validation_budget` asks for beyond those held out already.

    At random with the pool's seed, among the images that nobody has touched, nor a copy of them, whole
    patients at a time (`groups`), and never more than half of the pool.
    """
    lacking = context.settings.validation_budget - len(pool.measured_on)
    most = len(pool.images) // 2 - len(pool.held_out)
    if min(lacking, most) <= 0:
        return []
    groups = pool.group_rows(pool.images) or pool.images
    members: dict[str, list[str]] = {}
    for image, group in zip(pool.images, groups, strict=True):
        members.setdefault(group, []).append(image)
    touched = {mark.image for mark in pool.marks}
    free = {i for i in pool.images if pool.is_free(i) and i not in touched}
    whole = [
        images
        for images in members.values()
        if all(i in free or not free.isdisjoint(pool.copies.get(i, ())) for i in images)
    ]
    drawn: list[str] = []
    for at in np.random.default_rng(context.settings.seed).permutation(len(whole)):
        if len(drawn) >= lacking:
            break
        if len(drawn) + len(whole[at]) <= most:
            drawn += whole[at]
    return drawn


def hold_out(context: Context, pool: PoolSnapshot) -> None:
    """Draw what is lacking and keep it."""
    if drawn := to_hold_out(context, pool):
        why = f"drawn at random, seed {context.settings.seed}"
        context.state.marks.put(HELD_OUT, drawn, DRAWN, why)
        logger.info("%d images are held out for validation: %s", len(drawn), why)
