"""Plans of the cold start and of active rounds: ordered picks with their evidence."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from pool.database.maps import Layout
from pool.database.models import Model
from pool.database.plans import Plan
from strategies import selectors
from strategies.context import Context, plain
from strategies.measures import FOREGROUND
from strategies.selectors.registry import METHODS
from strategies.snapshot import PoolSnapshot

CLUSTER = "cluster"  # measure that holds an image's cluster in the cold start
MAX_PICKS = 500  # of one active plan, which is extended when exhausted
_MIN_SCORED = 50  # images to score before the first active plan of a round


def picks_of(images: Sequence[str], chosen: selectors.Selection) -> list[dict[str, Any]]:
    """Convert a selection to JSON: image and evidence per pick; the selector's row i is `images[i]`."""
    names = sorted(chosen.evidence)
    return [
        {"image": images[row], **{n: plain(chosen.evidence[n][i]) for n in names}}
        for i, row in enumerate(chosen.picks)
    ]


def versions() -> dict[str, str]:
    """Return the versions of the software that determines the picks, for the ledger."""
    names = ("numpy", "scikit-learn", "numba", "openTSNE", "torch", "monai", "monailabel")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def rows_of(layout: Layout, images: list[str] | set[str]) -> list[int]:
    """Return the rows of those images that are on the map."""
    selected = set(images)
    return [row for row, image in enumerate(layout.images) if image in selected]


def make_cold_plan(context: Context, layout: Layout, pool: PoolSnapshot) -> None:
    """Cluster the map and plan the cold start (arXiv 2601.18532, section 3.1), once per pool and seed."""
    settings = context.settings
    rows = np.array(rows_of(layout, {*pool.labelled, *pool.unlabelled}), dtype=int)
    points = layout.points[rows]
    max_clusters = min(settings.cold_start_budget, settings.most_clusters)
    clustering = selectors.cluster_by_silhouette(points, max_clusters, settings.seed)
    null = selectors.silhouette_null(points, max_clusters, settings.seed)
    best = clustering.silhouettes.get(clustering.k, float("nan"))
    images = [layout.images[row] for row in rows]
    chosen = selectors.cold_start(
        points, clustering.labels, settings.cold_start_budget, groups=pool.group_rows(images)
    )
    details = {
        "seed": settings.seed,
        "k": clustering.k,
        "versions": versions(),
        "silhouettes": {str(k): plain(v) for k, v in clustering.silhouettes.items()},
        "null_silhouette": plain(null),
        "map_note": "no clear clusters on this map" if best <= null else None,
        "sizes": [int(n) for n in np.bincount(clustering.labels)],
    }
    clusters = zip(rows, clustering.labels, strict=True)
    context.state.scores.add_measures(
        context.cold_key, {layout.images[row]: {CLUSTER: float(label)} for row, label in clusters}
    )
    context.state.plans.add(
        Plan(
            0,
            context.cold_key,
            "cold_start",
            layout.id,
            None,
            len(rows),
            picks_of(images, chosen),
            details,
        )
    )


def planned_alphas(context: Context) -> list[float | str]:
    """Return the alphas planned in advance: the active one, and those of the offered strategies."""
    offered, alphas = context.settings.offered, [context.active_alpha]
    alphas += [alpha for name, alpha in (("entropy", 0.0), ("diversity", 1.0)) if name in offered]
    return list(dict.fromkeys(alphas))


def weight_of(context: Context, model: Model, alpha: float | str) -> tuple[float, str]:
    """Return the diversity weight in a model's plan, and the reason; a numeric alpha is returned as is.

    "adaptive" compares the entropies of this model with those of the newest older model that has any
    (`selectors.adaptive_alpha`), over the images that both have scored by now.
    """
    if not isinstance(alpha, str):
        return alpha, "as configured" if alpha == context.settings.alpha else "as requested"
    now = context.state.scores.entropies(model.fingerprint)
    older = (m for m in context.state.models.all() if m.round < model.round)
    before = next(
        (entropies for m in older if (entropies := context.state.scores.entropies(m.fingerprint))), {}
    )
    shared = sorted(now.keys() & before.keys())
    weight, agreement = selectors.adaptive_alpha(
        [now[image] for image in shared], [before[image] for image in shared], context.settings.alpha
    )
    if agreement is None:
        return weight, "adaptive: there is no earlier model to compare with, so the configured alpha"
    return weight, f"adaptive: its entropies correlate by {agreement:.2f} with those of the previous model"


def scored(values: Mapping[str, float], pool: PoolSnapshot, labelled: Iterable[str]) -> list[str]:
    """Return the images of a round: scored by its model, and not labelled when the round began."""
    excluded = {*labelled, *pool.failed, *pool.held_out}
    return sorted(image for image in values if pool.store.has_image(image) and image not in excluded)


def unscored(context: Context, pool: PoolSnapshot) -> list[str]:
    """Return the unlabelled images on the map still to be scored by the newest model, up to `max_scored`."""
    models, layout, limit = context.state.models.all(), context.layout(), context.settings.max_scored
    if not models or not layout or 0 < limit <= context.state.scores.count(models[0].fingerprint):
        return []
    values, mapped = _scored_by(context, models[0]), set(layout.images)
    return [image for image in pool.unlabelled if image not in values and image in mapped]


def _scored_by(context: Context, model: Model) -> set[str]:
    """Return the images that a model has scored, foreground included if a method in use needs it."""
    images = set(context.state.scores.entropies(model.fingerprint))
    if any(METHODS[name].needs & {"class_entropy", "foreground"} for name in context.settings.used):
        images &= context.state.scores.measures(model.fingerprint, FOREGROUND).get(FOREGROUND, {}).keys()
    return images


def active_plan_due(context: Context, model: str, alpha: float | str, complete: bool) -> bool:
    """Return True if a plan is due.

    The first is due at enough scored images, the next when their number doubles or scoring is complete.
    """
    plan = context.state.plans.newest(context.active_key(model, alpha))
    count = context.state.scores.count(model)
    if plan is None:
        return count > 0 and (complete or count >= max(_MIN_SCORED, 10 * context.settings.batch_size))
    return count >= 2 * plan.scored or (complete and count > plan.scored)


@dataclass(frozen=True)
class Picked:
    """Next picks of an active round.

    :param start: images that were labelled when the round began
    :param width: divisor of the round's distances
    """

    images: list[str]
    chosen: selectors.Selection
    start: set[str]
    width: float


def pick_active(
    context: Context,
    layout: Layout,
    model: Model,
    pool: PoolSnapshot,
    weight: float,
    count: int,
    earlier: Plan | None,
) -> Picked:
    """Select the next picks of a model's round (arXiv 2601.18532, section 3.2); stores nothing.

    Within a round, normalisation is fixed by the labels at its first plan, and images handed out or labelled
    since then count as picked.

    :param earlier: the round's plan so far
    """
    values = context.state.scores.entropies(model.fingerprint)
    start = set(earlier.details["labelled"] if earlier else pool.labelled)
    round_images = scored(values, pool, start)
    anchors = start.union(pool.labelled).difference(round_images)  # labelled, but not in the round
    rows = np.array(rows_of(layout, anchors.union(round_images)), dtype=int)
    images = [layout.images[row] for row in rows]
    picked = {*pool.labelled, *pool.leased} - anchors  # possibly handed out by another plan
    unlabelled = [row for row, image in zip(rows, images, strict=True) if image not in anchors]
    chosen = selectors.active(
        layout.points[rows],
        np.array([values.get(image, np.nan) for image in images]),
        count,
        weight,
        labelled=[i for i, image in enumerate(images) if image in anchors],
        picked=[i for i, image in enumerate(images) if image in picked],
        candidates=[i for i, image in enumerate(images) if pool.is_free(image)],
        groups=pool.group_rows(images),
    )
    return Picked(images, chosen, start, selectors.diameter(layout.points[unlabelled]))


def make_active_plan(
    context: Context, layout: Layout, model: Model, alpha: float | str, pool: PoolSnapshot
) -> Plan:
    """Plan or extend a model's round, and store the plan."""
    weight, why = weight_of(context, model, alpha)
    state, key = context.state, context.active_key(model.fingerprint, alpha)
    earlier = state.plans.newest(key)
    picked = pick_active(context, layout, model, pool, weight, MAX_PICKS, earlier)
    taken = {*pool.labelled, *pool.leased}
    kept = [pick for pick in (earlier.picks if earlier else []) if pick["image"] in taken]
    return state.plans.add(
        Plan(
            0,
            key,
            "active",
            layout.id,
            model.fingerprint,
            state.scores.count(model.fingerprint),
            kept + picks_of(picked.images, picked.chosen),
            {
                "seed": context.settings.seed,
                "alpha": weight,
                "alpha_why": why,
                "round": model.round,
                "labelled": sorted(picked.start),
                "width": picked.width,
                "versions": versions(),
            },
        )
    )
