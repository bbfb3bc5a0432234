"""Inputs of a method: points, scores, and the roles of the rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pool.database.maps import Layout
from pool.database.plans import Plan
from strategies.context import Context
from strategies.planning.sources import Values
from strategies.selectors.numerics.distances import unit_rows
from strategies.selectors.registry import POINTS, Method
from strategies.snapshot import PoolSnapshot


@dataclass(frozen=True)
class Inputs:
    """Inputs of one call; row i is `images[i]`.

    :param start: images that were labelled when the round began
    :param roles: arguments of the rule that name rows: labelled, candidates, and picked if the method grows
        or is planned after each label
    """

    images: list[str]
    start: list[str]
    roles: dict[str, list[int]]


def rows_of(layout: Layout, images: Collection[str]) -> list[int]:
    """Return the rows of those images that are on the map."""
    selected = set(images)
    return [row for row, image in enumerate(layout.images) if image in selected]


def inputs_of(
    layout: Layout, pool: PoolSnapshot, method: Method, values: Values, earlier: Plan | None
) -> Inputs:
    """Return the images on the map that a plan of a method concerns, with their roles.

    :param earlier: the round's plan so far, for a method that grows
    """
    if method.grows:
        return _of_round(layout, pool, values, earlier)
    in_use, labelled = {*pool.labelled, *pool.unlabelled}, set(pool.labelled)
    not_now = pool.skipped | pool.leased if method.each_label else pool.skipped
    images = [
        i
        for i in layout.images
        if i in in_use and (i in labelled or all(i in by_image for by_image in values.values()))
    ]
    if method.whole_pool:
        return Inputs(images, [], {})
    roles = {"labelled": _where(images, labelled)}
    roles["candidates"] = [row for row, image in enumerate(images) if image not in not_now]
    if method.each_label:
        roles["picked"] = _where(images, labelled | pool.leased)
    return Inputs(images, pool.labelled, roles)


def _of_round(layout: Layout, pool: PoolSnapshot, values: Values, earlier: Plan | None) -> Inputs:
    """Return the images of a round: those labelled when it began, and those scored by its model.

    Within a round, normalisation is fixed by the labels at its first plan, and images handed out or labelled
    since then count as picked.
    """
    start = set(earlier.details["labelled"] if earlier else pool.labelled)
    scored = set.intersection(*(set(by_image) for by_image in values.values()))
    in_round = {i for i in scored.difference(start, pool.failed, pool.held_out) if pool.store.has_image(i)}
    anchors = start.union(pool.labelled) - in_round  # labelled, but not in the round
    images = [layout.images[row] for row in rows_of(layout, anchors | in_round)]
    roles = {
        "labelled": _where(images, anchors),
        "picked": _where(images, {*pool.labelled, *pool.leased} - anchors),  # perhaps by another plan
        "candidates": [row for row, image in enumerate(images) if pool.is_free(image)],
    }
    return Inputs(images, sorted(start), roles)


def _where(images: list[str], members: Collection[str]) -> list[int]:
    return [row for row, image in enumerate(images) if image in members]


def columns_of(images: list[str], values: Values) -> dict[str, np.ndarray]:
    """Return each kind of score as an array with one row per image; NaN where an image has none."""
    return {name: _column(images, by_image) for name, by_image in values.items()}


def _column(images: list[str], by_image: Mapping[str, Any]) -> np.ndarray:
    example = next(iter(by_image.values()), None)
    missing: Any = [np.nan] * len(example) if isinstance(example, list) else np.nan
    return np.array([by_image.get(image, missing) for image in images])


def points_of(context: Context, layout: Layout, images: list[str], method: Method) -> np.ndarray:
    """Return the points that a method needs (N, D); a column of zeros if only their number matters."""
    if "map" in method.needs:
        row_of = {image: row for row, image in enumerate(layout.images)}
        return layout.points[[row_of[image] for image in images]]
    if not images or not method.needs & POINTS:
        return np.zeros((len(images), 1))
    if not method.components:
        return _features(context, images, method)
    fingerprint_of = dict(zip(layout.images, layout.fingerprints, strict=True))
    rows = [(image, fingerprint_of[image]) for image in images]
    kind = f"{context.encoder_key}|{'unit_features' in method.needs}"
    return context.components.of(kind, rows, method.components, lambda: _features(context, images, method))


def _features(context: Context, images: list[str], method: Method) -> np.ndarray:
    features = context.state.embeddings.vectors(context.encoder_key, images)
    return unit_rows(features) if "unit_features" in method.needs else features
