"""The selection map as columns: the position, state and numbers of each image."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bundle_configs import Bundle
from infers.metrics import dice_per_image
from pool.database.maps import Layout
from pool.database.models import Model
from pool.database.state import State
from pool.imaging.label_writer import color_of
from strategies.better import candidates
from strategies.context import Context
from strategies.selectors.cold_start import CLUSTER
from strategies.snapshot import PoolSnapshot

STATES = (
    "unlabelled",
    "handed out",
    "labelled in cold start",
    "labelled actively",
    "skipped",
    "held out",
    "copy of another image",
)
UNLABELLED, HANDED_OUT, LABELLED_COLD, LABELLED_ACTIVE, SKIPPED, HELD_OUT, COPY = range(len(STATES))


def version_of(context: Context, pool: PoolSnapshot) -> str:
    """Return a string that changes whenever the map changes; its cost does not grow with the pool."""
    state, models, layout = context.state, context.state.models.all(), context.layout()
    model = models[0].fingerprint if models else ""
    facts = (
        state.ledger.newest_id(),
        pool.store.count_labelled(),
        len(pool.images),
        sorted(pool.leased),
        len(pool.left_out),
        layout.id if layout else 0,
        len(layout.images) if layout else 0,
        model,
        state.scores.count(model) if models else 0,
        state.validations.count(model) if models else 0,
        context.settings,
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:20]


class MapData:
    """The map of one pool as compressed JSON, rebuilt only when something has changed."""

    def __init__(self) -> None:
        self._lock, self._cache = threading.Lock(), ("", b"")

    def compressed(self, context: Context, pool: PoolSnapshot, bundle: Bundle) -> tuple[str, bytes]:
        """Return version and gzipped JSON; simultaneous requests build it only once.

        :param bundle: gives the names of the app's structures
        """
        with self._lock:
            version = version_of(context, pool)
            if self._cache[0] != version:
                body = json.dumps(
                    {"version": version, **_columns(context, pool, bundle)}, separators=(",", ":")
                )
                self._cache = version, gzip.compress(body.encode(), compresslevel=1, mtime=0)
            return self._cache


def _columns(context: Context, pool: PoolSnapshot, bundle: Bundle) -> dict[str, Any]:
    layout, models = context.layout(), context.state.models.all()
    rows = _visible_rows(layout, pool)
    images = [layout.images[row] for row in rows] if layout else []
    points = layout.points[rows] if layout else np.zeros((0, 2))
    model = models[0] if models else None
    colors = bundle.get("colors")
    copies = len(pool.left_out.difference(images))
    return {
        "ids": images,
        **_first_axes(points),
        "state": states_of(context, pool, images).tolist(),
        "cluster": _clusters(context, images, points).tolist(),
        **_model_scores(context, model, images, bundle.get("metric")),
        "states": STATES,
        "labels": [{"name": n, "color": color_of(n, i, colors)} for i, n in enumerate(bundle.get("labels"))],
        "predicts": _predicts(context, bundle),
        "model": {"round": model.round, "fingerprint": model.fingerprint} if model else None,
        "projection": context.settings.projection,
        "failed": pool.failed,
        "copies": copies,
        "unmapped": len(pool.images) - len(pool.failed) - copies - len(images),
    }


def _predicts(context: Context, bundle: Bundle) -> dict[str, Any] | None:
    """Return the model whose predictions the page shows, and its measured Dice."""
    model = next(iter(candidates(context, bundle)), None)
    return {"name": model.name, "dice": model.dice} if model else None


def _visible_rows(layout: Layout | None, pool: PoolSnapshot) -> list[int]:
    """Return the rows of the map whose image is still in the pool and can be read."""
    if layout is None:
        return []
    readable = set(pool.images).difference(pool.failed)
    return [row for row, image in enumerate(layout.images) if image in readable]


def _first_axes(points: np.ndarray) -> dict[str, list[float]]:
    """Return the first two axes of the map; raw features have more, which are not drawn."""
    flat = points[:, :2] if points.shape[1] > 1 else np.column_stack([points, np.zeros(len(points))])
    return {"x": np.round(flat[:, 0], 4).tolist(), "y": np.round(flat[:, 1], 4).tolist()}


def states_of(context: Context, pool: PoolSnapshot, images: Sequence[str]) -> np.ndarray:
    """Return the state of each image as an index into STATES (N,); of several, the last assigned below.

    A label belongs to the cold start or to active selection by the stage in which its image was handed out;
    without a hand-out, by whether the first model was trained on it.
    """
    row_of = {image: row for row, image in enumerate(images)}
    codes = np.zeros(len(images), dtype=np.int64)

    def assign(members: Sequence[str] | frozenset[str], code: int) -> None:
        codes[[row_of[image] for image in members if image in row_of]] = code

    assign(pool.left_out, COPY)
    assign(pool.leased, HANDED_OUT)
    assign(pool.skipped, SKIPPED)
    stages, models = context.state.handouts.label_stages(), context.state.models.all()
    first_model_labels = set(models[-1].labelled) if models else set(pool.labelled)
    active = [
        i for i in pool.labelled if stages.get(i, "" if i in first_model_labels else "active") == "active"
    ]
    assign(pool.labelled, LABELLED_COLD)
    assign(active, LABELLED_ACTIVE)
    assign(pool.held_out, HELD_OUT)
    return codes


@lru_cache(maxsize=2)
def _planned_clusters(state: State, key: str, plan: int | None) -> dict[str, float]:
    """Return the clusters a cold start was planned from: {image: cluster}; those of a plan never change."""
    return state.scores.measures(key, CLUSTER).get(CLUSTER, {}) if plan else {}


def _clusters(context: Context, images: Sequence[str], points: np.ndarray) -> np.ndarray:
    """Return each image's cluster of the cold start (N,), -1 if unknown; new images join the nearest."""
    plan = context.state.plans.newest(context.cold_key)
    planned = _planned_clusters(context.state, context.cold_key, plan.id if plan else None)
    clusters = np.array([planned.get(image, -1) for image in images], dtype=np.int64)
    planned_clusters = np.unique(clusters[clusters >= 0])
    if not len(planned_clusters) or (clusters >= 0).all():
        return clusters
    centres = np.stack([points[clusters == cluster].mean(axis=0) for cluster in planned_clusters])
    unassigned = np.flatnonzero(clusters < 0)
    gaps = ((points[unassigned, None] - centres) ** 2).sum(axis=-1)
    clusters[unassigned] = planned_clusters[gaps.argmin(axis=1)]
    return clusters


def _model_scores(
    context: Context, model: Model | None, images: Sequence[str], metric: str
) -> dict[str, list[float | None]]:
    """Return entropy (nats) and quality of each image by the newest model, None where unknown.

    Quality is Dice, averaged over classes according to `metric`, on held-out images: only these are unbiased.
    """
    entropies = context.state.scores.entropies(model.fingerprint) if model else {}
    scores = context.state.validations.of(model.fingerprint) if model else {}
    dice = {
        image: dice_per_image({image: image_scores}, metric)
        for image, image_scores in scores.items()
        if image_scores
    }
    quality = {image: values[0] for image, values in dice.items() if values}
    return {"entropy": _column(entropies, images), "quality": _column(quality, images)}


def _column(values: Mapping[str, float], images: Sequence[str]) -> list[float | None]:
    return [round(values[i], 5) if i in values else None for i in images]
