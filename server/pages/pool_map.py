"""The selection map as columns: where each image lies, and what is known of it."""

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
from strategies.context import Context
from strategies.planning.plans import CLUSTER
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
    """Another text whenever anything on the map is another; costs nothing that grows with the pool."""
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
    """The map of one pool as compressed JSON, made anew only when something changed."""

    def __init__(self) -> None:
        self._lock, self._kept = threading.Lock(), ("", b"")

    def compressed(self, context: Context, pool: PoolSnapshot, bundle: Bundle) -> tuple[str, bytes]:
        """Version and gzip of the JSON. Of several who ask at once, one makes it.

        :param bundle: says what the app's structures are called
        """
        with self._lock:
            version = version_of(context, pool)
            if self._kept[0] != version:
                body = json.dumps(
                    {"version": version, **_columns(context, pool, bundle)}, separators=(",", ":")
                )
                self._kept = version, gzip.compress(body.encode(), compresslevel=1, mtime=0)
            return self._kept


def _columns(context: Context, pool: PoolSnapshot, bundle: Bundle) -> dict[str, Any]:
    layout, models = context.layout(), context.state.models.all()
    rows = _shown(layout, pool)
    images = [layout.images[row] for row in rows] if layout else []
    points = layout.points[rows] if layout else np.zeros((0, 2))
    model = models[0] if models else None
    colors = bundle.get("colors")
    copies = len(pool.left_out.difference(images))
    return {
        "ids": images,
        **_flat(points),
        "state": states_of(context, pool, images).tolist(),
        "cluster": _clusters(context, images, points).tolist(),
        **_numbers(context, model, images, bundle.get("metric")),
        "states": STATES,
        "labels": [{"name": n, "color": color_of(n, i, colors)} for i, n in enumerate(bundle.get("labels"))],
        "model": {"round": model.round, "fingerprint": model.fingerprint} if model else None,
        "projection": context.settings.projection,
        "failed": pool.failed,
        "copies": copies,
        "unmapped": len(pool.images) - len(pool.failed) - copies - len(images),
    }


def _shown(layout: Layout | None, pool: PoolSnapshot) -> list[int]:
    """Rows of the map whose image is still in the pool and can be read."""
    if layout is None:
        return []
    here = set(pool.images).difference(pool.failed)
    return [row for row, image in enumerate(layout.images) if image in here]


def _flat(points: np.ndarray) -> dict[str, list[float]]:
    """The map's first two axes; raw features have more, of which only these are drawn."""
    flat = points[:, :2] if points.shape[1] > 1 else np.column_stack([points, np.zeros(len(points))])
    return {"x": np.round(flat[:, 0], 4).tolist(), "y": np.round(flat[:, 1], 4).tolist()}


def states_of(context: Context, pool: PoolSnapshot, images: Sequence[str]) -> np.ndarray:
    """The state of each image as its place in STATES (N,). Of several, the one that is put last below.

    A label counts to the cold start or to active selection by the stage in which its image was handed out;
    without a hand-out, by whether the first model was trained on it.
    """
    row_of = {image: row for row, image in enumerate(images)}
    codes = np.zeros(len(images), dtype=np.int64)

    def put(some: Sequence[str] | frozenset[str], code: int) -> None:
        codes[[row_of[image] for image in some if image in row_of]] = code

    put(pool.left_out, COPY)
    put(pool.leased, HANDED_OUT)
    put(pool.skipped, SKIPPED)
    stages, models = context.state.handouts.label_stages(), context.state.models.all()
    first = set(models[-1].labelled) if models else set(pool.labelled)
    active = [i for i in pool.labelled if stages.get(i, "" if i in first else "active") == "active"]
    put(pool.labelled, LABELLED_COLD)
    put(active, LABELLED_ACTIVE)
    put(pool.held_out, HELD_OUT)
    return codes


@lru_cache(maxsize=2)
def _planned_clusters(state: State, key: str, plan: int | None) -> dict[str, float]:
    """The cluster of each image that a cold start was planned from; a plan's never change."""
    return state.scores.measures(key, CLUSTER).get(CLUSTER, {}) if plan else {}


def _clusters(context: Context, images: Sequence[str], points: np.ndarray) -> np.ndarray:
    """The cold start's cluster of each image (N,), -1 for unknown; newer images are in the nearest one."""
    plan = context.state.plans.newest(context.cold_key)
    kept = _planned_clusters(context.state, context.cold_key, plan.id if plan else None)
    found = np.array([kept.get(image, -1) for image in images], dtype=np.int64)
    known = np.unique(found[found >= 0])
    if not len(known) or (found >= 0).all():
        return found
    centres = np.stack([points[found == cluster].mean(axis=0) for cluster in known])
    new = np.flatnonzero(found < 0)
    gaps = ((points[new, None] - centres) ** 2).sum(axis=-1)
    found[new] = known[gaps.argmin(axis=1)]
    return found


def _numbers(
    context: Context, model: Model | None, images: Sequence[str], metric: str
) -> dict[str, list[float | None]]:
    """Entropy (nats) and quality of each image by the newest model, None where it says nothing.

    Quality is Dice on held-out images, averaged over classes as `metric` says: only there it is honest.
    """
    entropies = context.state.scores.entropies(model.fingerprint) if model else {}
    scores = context.state.validations.of(model.fingerprint) if model else {}
    dice = {image: dice_per_image({image: one}, metric) for image, one in scores.items() if one}
    quality = {image: values[0] for image, values in dice.items() if values}
    return {"entropy": _column(entropies, images), "quality": _column(quality, images)}


def _column(values: Mapping[str, float], images: Sequence[str]) -> list[float | None]:
    return [round(values[i], 5) if i in values else None for i in images]
