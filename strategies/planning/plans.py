"""Making plans: from the map, the labels and the entropies to ordered picks with their evidence."""

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
from strategies.scoring import FOREGROUND
from strategies.selectors.registry import METHODS
from strategies.snapshot import PoolSnapshot

CLUSTER = "cluster"  # the measure that says which cluster of the cold start an image is in
MAX_PICKS = 500  # of one active plan; used up, it is continued
_FIRST_PLAN = 50  # scored images that the first active plan of a round waits for


def picks_of(images: Sequence[str], chosen: selectors.Selection) -> list[dict[str, Any]]:
    """Picks as JSON: image and evidence; row i of the selector is image i of `images`."""
    names = sorted(chosen.evidence)
    return [
        {"image": images[row], **{n: plain(chosen.evidence[n][i]) for n in names}}
        for i, row in enumerate(chosen.picks)
    ]


def versions() -> dict[str, str]:
    """Of what decides the picks, for the ledger."""
    names = ("numpy", "scikit-learn", "numba", "openTSNE", "torch", "monai", "monailabel")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def rows_of(layout: Layout, images: list[str] | set[str]) -> list[int]:
    """Rows of those images that are on the map."""
    wanted = set(images)
    return [row for row, image in enumerate(layout.images) if image in wanted]


def make_cold_plan(context: Context, layout: Layout, pool: PoolSnapshot) -> None:
    """Cluster the map and plan the cold start (arXiv 2601.18532, section 3.1), once for the pool and seed."""
    settings = context.settings
    rows = np.array(rows_of(layout, {*pool.labelled, *pool.unlabelled}), dtype=int)
    points = layout.points[rows]
    most = min(settings.cold_start_budget, settings.most_clusters)
    found = selectors.cluster_by_silhouette(points, most, settings.seed)
    null = selectors.silhouette_null(points, most, settings.seed)
    best = found.silhouettes.get(found.k, float("nan"))
    images = [layout.images[row] for row in rows]
    chosen = selectors.cold_start(
        points, found.labels, settings.cold_start_budget, groups=pool.group_rows(images)
    )
    details = {
        "seed": settings.seed,
        "k": found.k,
        "versions": versions(),
        "silhouettes": {str(k): plain(v) for k, v in found.silhouettes.items()},
        "null_silhouette": plain(null),
        "map_note": "no clear clusters on this map" if best <= null else None,
        "sizes": [int(n) for n in np.bincount(found.labels)],
    }
    clusters = zip(rows, found.labels, strict=True)
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
    """Active plans made in advance: the configured alpha, and those of the strategies offered."""
    offered, found = context.settings.offered, [context.active_alpha]
    found += [alpha for name, alpha in (("entropy", 0.0), ("diversity", 1.0)) if name in offered]
    return list(dict.fromkeys(found))


def weight_of(context: Context, model: Model, alpha: float | str) -> tuple[float, str]:
    """The weight of diversity in the plan of a model, and why: a number is itself.

    "adaptive" compares the entropies of this model and of the newest older one that has any
    (`selectors.adaptive_alpha`), over the images that both have scored when the plan is made.
    """
    if not isinstance(alpha, str):
        return alpha, "as configured" if alpha == context.settings.alpha else "as asked for"
    now = context.state.scores.entropies(model.fingerprint)
    older = (m for m in context.state.models.all() if m.round < model.round)
    before = next((found for m in older if (found := context.state.scores.entropies(m.fingerprint))), {})
    shared = sorted(now.keys() & before.keys())
    weight, agreement = selectors.adaptive_alpha(
        [now[image] for image in shared], [before[image] for image in shared], context.settings.alpha
    )
    if agreement is None:
        return weight, "adaptive: there is no earlier model to compare with, so the configured alpha"
    return weight, f"adaptive: its entropies correlate by {agreement:.2f} with those of the model before"


def scored(values: Mapping[str, float], pool: PoolSnapshot, labelled: Iterable[str]) -> list[str]:
    """Images of a round: scored by its model, and not among the labels that the round started with."""
    out = {*labelled, *pool.failed, *pool.held_out}
    return sorted(image for image in values if pool.store.has_image(image) and image not in out)


def unscored(context: Context, pool: PoolSnapshot) -> list[str]:
    """Unlabelled images on the map that the newest model has not scored; none once `max_scored` are."""
    models, layout, most = context.state.models.all(), context.layout(), context.settings.max_scored
    if not models or not layout or 0 < most <= context.state.scores.count(models[0].fingerprint):
        return []
    values, mapped = _scored_by(context, models[0]), set(layout.images)
    return [image for image in pool.unlabelled if image not in values and image in mapped]


def _scored_by(context: Context, model: Model) -> set[str]:
    """Images that a model has scored, with the other measures if a method in use needs them."""
    found = set(context.state.scores.entropies(model.fingerprint))
    if any(METHODS[name].needs & {"class_entropy", "foreground"} for name in context.settings.used):
        found &= context.state.scores.measures(model.fingerprint, FOREGROUND).get(FOREGROUND, {}).keys()
    return found


def active_plan_due(context: Context, model: str, alpha: float | str, complete: bool) -> bool:
    """A first plan at enough scored images, another when their number has doubled or scoring is complete."""
    plan, count = (
        context.state.plans.newest(context.active_key(model, alpha)),
        context.state.scores.count(model),
    )
    if plan is None:
        return count > 0 and (complete or count >= max(_FIRST_PLAN, 10 * context.settings.batch_size))
    return count >= 2 * plan.scored or (complete and count > plan.scored)


@dataclass(frozen=True)
class Picked:
    """What an active round would hand out now.

    :param start: images that were labelled when the round began
    :param width: what distances of the round were divided by
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
    """The next picks of a model's round (arXiv 2601.18532, section 3.2); keeps nothing.

    Within a round the normalisation stays that of its first plan's labels, and images handed out or labelled
    since then count as picked.

    :param earlier: the round's plan so far
    """
    values = context.state.scores.entropies(model.fingerprint)
    start = set(earlier.details["labelled"] if earlier else pool.labelled)
    round_images = scored(values, pool, start)
    anchors = start.union(pool.labelled).difference(round_images)  # labelled, and no part of the round
    rows = np.array(rows_of(layout, anchors.union(round_images)), dtype=int)
    images = [layout.images[row] for row in rows]
    picked = {*pool.labelled, *pool.leased} - anchors  # or handed out by another plan meanwhile
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
    """Plan or continue the round of a model, and keep the plan."""
    weight, why = weight_of(context, model, alpha)
    state, key = context.state, context.active_key(model.fingerprint, alpha)
    earlier = state.plans.newest(key)
    found = pick_active(context, layout, model, pool, weight, MAX_PICKS, earlier)
    given = {*pool.labelled, *pool.leased}
    kept = [pick for pick in (earlier.picks if earlier else []) if pick["image"] in given]
    return state.plans.add(
        Plan(
            0,
            key,
            "active",
            layout.id,
            model.fingerprint,
            state.scores.count(model.fingerprint),
            kept + picks_of(found.images, found.chosen),
            {
                "seed": context.settings.seed,
                "alpha": weight,
                "alpha_why": why,
                "round": model.round,
                "labelled": sorted(found.start),
                "width": found.width,
                "versions": versions(),
            },
        )
    )
