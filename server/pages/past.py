"""The history of one image: what happened to it, why it was picked, and what it was compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pool.database.maps import Layout
from pool.database.plans import Plan
from strategies.context import Context
from strategies.planning.plans import CLUSTER
from strategies.selectors.registry import METHODS
from strategies.snapshot import PoolSnapshot

_NEAREST = 4  # images that are shown beside a pick
_BY_HAND = {  # hand-outs that no method is behind
    "marked": "Images that a lead marked to come next",
    "validation": "Images that are labelled but never trained on, to measure models by",
}
_ALONE = {"random", "foreground_random", *_BY_HAND}  # chosen without looking at other images
_SELECTION = {"encoder_note", "map_note", "expires_in", "again", "progress", "client", "reason", "paper"}


def history_of(context: Context, pool: PoolSnapshot, image: str) -> dict[str, Any]:
    """What the ledger says of an image, oldest first, and the labelled images nearest to it now.

    Of each hand-out: the rule, its words and numbers, and the neighbours that it was compared with.
    """
    layout = context.layout()
    events = [_told(context, image, entry) for entry in context.state.ledger.image_history(image)]
    near = nearest(layout, image, {*pool.labelled, *pool.leased} - {image}, "labelled") if layout else []
    return {
        "image": image,
        "labelled": pool.store.is_labelled(image),
        "failed": pool.failed.get(image),
        "events": events,
        "neighbours": near,
    }


def nearest(
    layout: Layout, image: str, others: Iterable[str], kind: str, width: float | None = None
) -> list[dict[str, Any]]:
    """The nearest of some images on a map, with their distance in its units.

    :param kind: what they are to the image, in a word
    :param width: what the picks' distances were divided by; then each has its `share` of that too
    """
    row_of = {name: row for row, name in enumerate(layout.images)}
    rows = np.array(sorted(row_of[name] for name in others if name in row_of), dtype=int)
    if image not in row_of or not len(rows):
        return []
    gaps = np.linalg.norm(layout.points[rows] - layout.points[row_of[image]], axis=1)
    order = np.argsort(gaps, kind="stable")[:_NEAREST]
    share = {i: {"share": float(gaps[i] / width)} if width else {} for i in order}
    return [
        {"image": layout.images[rows[i]], "kind": kind, "distance": float(gaps[i]), **share[i]} for i in order
    ]


def _told(context: Context, image: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of the ledger for people."""
    details = entry["details"]
    said: dict[str, Any] = {
        "id": entry["id"],
        "time": entry["created"],
        "event": entry["event"],
        "who": details.get("by") or details.get("client") or details.get("user"),
        "reason": details.get("reason"),
        "details": {k: v for k, v in details.items() if k not in ("selection", "client", "by", "reason")},
    }
    if entry["event"] != "handout":
        return said
    selection = details.get("selection", {})
    rule = rule_of(selection)
    method = METHODS.get(rule)
    plan = _plan_of(context, details["source"], image, entry["created"])
    return said | {
        "reason": selection.get("reason"),
        "rule": {
            "name": rule,
            "text": method.text if method else _BY_HAND[rule],
            "paper": method.paper if method else None,
        },
        "numbers": {k: v for k, v in selection.items() if k not in _SELECTION and v is not None},
        "plan": plan.id if plan else None,
        "neighbours": [] if rule in _ALONE else _compared(context, image, plan, entry["id"]),
    }


def rule_of(selection: Mapping[str, Any]) -> str:
    """The method of the registry behind a hand-out, or one of _BY_HAND."""
    role = selection.get("role")
    if named := selection.get("method"):
        return str(named)
    if role in _BY_HAND:
        return str(role)
    if role in ("provisional", "random"):
        return "random"
    if role in ("most_uncertain", "combined"):
        return "active"
    return "cold_start" if selection.get("rank") is not None else "farthest_first"


def _plan_of(context: Context, key: str, image: str, moment: float) -> Plan | None:
    """The plan that a hand-out came from, or None when it came from no plan."""
    found = context.state.plans.newest_before(key, moment)
    plan = context.state.plans.get(found) if found is not None else None
    return plan if plan and any(pick["image"] == image for pick in plan.picks) else None


def _compared(context: Context, image: str, plan: Plan | None, entry: int) -> list[dict[str, Any]]:
    """The nearest of the images that a pick was compared with, on the map that it was picked from."""
    layout = context.state.maps.get(plan.layout) if plan else context.layout()
    if layout is None:
        return []
    if plan is None:
        given = context.state.ledger.given_before(entry)
        return nearest(layout, image, set(given) - {image}, "labelled or handed out before")
    rank = next(i for i, pick in enumerate(plan.picks) if pick["image"] == image)
    pick, before = plan.picks[rank], [other["image"] for other in plan.picks[:rank]]
    if pick.get("role") == "medoid":
        return nearest(layout, image, _members(context, pick) - {image}, "same cluster")
    if plan.kind == "cold_start":
        before = [p["image"] for p in plan.picks[:rank] if p.get("cluster") == pick.get("cluster")]
        return nearest(layout, image, before, "picked before in its cluster")
    labelled = set(plan.details.get("labelled", []))
    width = plan.details.get("width")
    found = nearest(layout, image, labelled, "labelled", width)
    found += nearest(layout, image, set(before) - labelled, "picked before", width)
    return sorted(found, key=lambda one: one["distance"])[:_NEAREST]


def _members(context: Context, pick: Mapping[str, Any]) -> set[str]:
    """Images of a pick's cluster."""
    kept = context.state.scores.measures(context.cold_key, CLUSTER).get(CLUSTER, {})
    return {image for image, cluster in kept.items() if cluster == pick["cluster"]}
