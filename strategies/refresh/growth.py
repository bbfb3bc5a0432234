"""How the map follows the pool: new and changed images are placed on it, until it has grown too far for that.

What annotators have seen stays where it is in between. Images that left the pool stay on the map; whoever
reads it asks the pool which ones there are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pool.database.maps import Layout
from strategies.context import Context
from strategies.refresh.projection import MIN_IMAGES, place, project
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def _usable(pool: PoolSnapshot, have: Mapping[str, str]) -> list[str]:
    """Images of the pool that have an embedding, sorted; held-out ones are on the map too, to be seen."""
    return sorted(i for i in (*pool.labelled, *pool.unlabelled, *pool.held_out) if i in have)


def unmapped(context: Context, pool: PoolSnapshot) -> list[str]:
    """Embedded images that are not on the map, or were mapped from an older file; sorted."""
    have, layout = context.state.embeddings.fingerprints(context.encoder_key), context.layout()
    mapped = dict(zip(layout.images, layout.marks, strict=True)) if layout else {}
    return [image for image in _usable(pool, have) if mapped.get(image) != have[image]]


def _unchanged(layout: Layout, have: Mapping[str, str]) -> list[int]:
    """Rows that were laid out from the file that their image's embedding is of; new images go among these."""
    return [
        row for row in np.flatnonzero(layout.laid_out) if have.get(layout.images[row]) == layout.marks[row]
    ]


def update_map(
    context: Context, pool: PoolSnapshot, new: Sequence[str], step: Callable[[str, int], None]
) -> None:
    """Bring `new` (see `unmapped`) onto the map, or lay it out afresh with all images.

    :param step: told what is done to how many images, before it is
    """
    have, layout = context.state.embeddings.fingerprints(context.encoder_key), context.layout()
    images = _usable(pool, have)
    known = _unchanged(layout, have) if layout else []
    reason = "first"
    if layout:
        placed = len(set(images).difference(layout.images[row] for row in known))
        reason = _reason(placed, len(known), context.settings.map_growth)
    if layout is None or reason:
        step("laying out the map", len(images))
        _lay_out(context, {image: have[image] for image in images}, reason)
    else:
        step("placing new images on the map", len(new))
        _place(context, layout, known, {image: have[image] for image in new})


def _reason(placed: int, known: int, growth: float) -> str:
    """Why a map is laid out afresh; empty when it is not."""
    if placed > growth * known:
        return f"grown past {growth:g} ({placed} of {known})"
    if known < MIN_IMAGES:  # cannot carry new ones, and costs nothing
        return f"{known} images are left of those laid out"
    return ""


def _lay_out(context: Context, marks: Mapping[str, str], reason: str) -> None:
    settings, features = context.settings, context.state.embeddings.vectors(context.encoder_key, list(marks))
    points = project(features, settings.projection, settings.perplexity, settings.seed)
    context.state.maps.add(context.layout_key, marks, points, reason)
    logger.info("The map was laid out with %d images: %s", len(marks), reason)


def _place(context: Context, layout: Layout, known: Sequence[int], marks: Mapping[str, str]) -> None:
    settings, images = context.settings, [layout.images[row] for row in known]
    features = context.state.embeddings.vectors(context.encoder_key, [*images, *marks])
    points = place(
        features[: len(images)],
        layout.points[known],
        features[len(images) :],
        settings.projection,
        settings.perplexity,
        settings.seed,
    )
    rows = zip(marks, marks.values(), points, strict=True)
    context.state.maps.place(layout.id, rows)
    logger.info("%d images were placed on the map of %d", len(marks), len(images))
