"""Growth of the map: place new and changed images on it, until it has grown too much and is computed anew.

Meanwhile, points that annotators have seen stay where they are. Images that left the pool stay on the map;
readers check the pool for those that exist.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pool.database.maps import Layout
from strategies.context import Context
from strategies.snapshot import PoolSnapshot

logger = logging.getLogger(__name__)


def _usable(pool: PoolSnapshot, fingerprints: Mapping[str, str]) -> list[str]:
    """Return the embedded images, sorted; held-out images are included so that the map shows them."""
    return sorted(i for i in (*pool.labelled, *pool.unlabelled, *pool.held_out) if i in fingerprints)


def unmapped(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the embedded images that are not on the map, or only from an older file; sorted."""
    fingerprints, layout = context.state.embeddings.fingerprints(context.encoder_key), context.layout()
    mapped = dict(zip(layout.images, layout.fingerprints, strict=True)) if layout else {}
    return [image for image in _usable(pool, fingerprints) if mapped.get(image) != fingerprints[image]]


def _unchanged(layout: Layout, fingerprints: Mapping[str, str]) -> list[int]:
    """Return the rows laid out from their image's present file; new images are placed relative to these."""
    return [
        row
        for row in np.flatnonzero(layout.laid_out)
        if fingerprints.get(layout.images[row]) == layout.fingerprints[row]
    ]


def update_map(
    context: Context, pool: PoolSnapshot, new: Sequence[str], step: Callable[[str, int], None]
) -> None:
    """Place `new` images (see `unmapped`) on the map, or lay it out anew with all images.

    :param step: called with the step's name and number of images before it starts
    """
    fingerprints, layout = context.state.embeddings.fingerprints(context.encoder_key), context.layout()
    images = _usable(pool, fingerprints)
    anchors = _unchanged(layout, fingerprints) if layout else []
    reason = "first"
    if layout:
        placed = len(set(images).difference(layout.images[row] for row in anchors))
        reason = _rebuild_reason(placed, len(anchors), context.settings.map_growth)
    if layout is None or reason:
        step("laying out the map", len(images))
        _lay_out(context, {image: fingerprints[image] for image in images}, reason)
    else:
        step("placing new images on the map", len(new))
        _place(context, layout, anchors, {image: fingerprints[image] for image in new})


def _rebuild_reason(placed: int, anchors: int, growth: float) -> str:
    """Return the reason to lay the map out anew; empty if there is none."""
    from strategies.refresh.projection import MIN_IMAGES

    if placed > growth * anchors:
        return f"grown past {growth:g} ({placed} of {anchors})"
    if anchors < MIN_IMAGES:  # too few to place new images by, and cheap to lay out
        return f"{anchors} images are left of those laid out"
    return ""


def _lay_out(context: Context, fingerprints: Mapping[str, str], reason: str) -> None:
    from strategies.refresh.projection import project  # imports openTSNE

    settings = context.settings
    features = context.state.embeddings.vectors(context.encoder_key, list(fingerprints))
    points = project(features, settings.projection, settings.perplexity, settings.seed)
    context.state.maps.add(context.layout_key, fingerprints, points, reason)
    logger.info("Laid out the map with %d images: %s", len(fingerprints), reason)


def _place(context: Context, layout: Layout, anchors: Sequence[int], fingerprints: Mapping[str, str]) -> None:
    from strategies.refresh.projection import place  # imports openTSNE

    settings, images = context.settings, [layout.images[row] for row in anchors]
    features = context.state.embeddings.vectors(context.encoder_key, [*images, *fingerprints])
    points = place(
        features[: len(images)],
        layout.points[anchors],
        features[len(images) :],
        settings.projection,
        settings.perplexity,
        settings.seed,
    )
    rows = zip(fingerprints, fingerprints.values(), points, strict=True)
    context.state.maps.place(layout.id, rows)
    logger.info("Placed %d images on the map of %d", len(fingerprints), len(images))
