"""The history of one image: its events, why it was picked, and the images it was compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pool.database.maps import Layout
from pool.database.plans import Plan
from pool.datastore.index import FINAL
from strategies.context import Context
from strategies.planning.each_label import LABELS
from strategies.ranking.plain_reasons import plain_reason
from strategies.selectors.cold_start import CLUSTER
from strategies.selectors.registry import METHODS, method_of_key
from strategies.snapshot import PoolSnapshot

_MAX_NEAREST = 4  # images shown beside a pick
_BY_HAND = {  # hand-outs that no method chose
    "chosen": "Images that somebody opened by themselves, on the map or in a list",
    "marked": "Images that a lead marked to come next",
    "reopened": "Labelled images that a lead handed out once more",
    "validation": "Images that are labelled but never trained on, for measuring models",
}
_NOT_NUMBERS = {"encoder_note", "map_note", "expires_in", "again", "progress", "client", "reason", "paper"}


def history_of(context: Context, pool: PoolSnapshot, image: str) -> dict[str, Any]:
    """Return an image's ledger entries, oldest first, and the labelled images nearest to it now.

    Each hand-out has its rule, its reason (`plain`: in a reader's words) and numbers, and the neighbours that
    the image was compared with.
    """
    layout = context.layout()
    events = [_describe(context, image, entry) for entry in context.state.ledger.image_history(image)]
    others = {**dict.fromkeys(pool.leased, "handed out"), **dict.fromkeys(pool.labelled, "labelled")}
    neighbours = nearest(layout, image, others) if layout else []
    return {
        "image": image,
        "labelled": pool.store.is_labelled(image),
        "reopened": any(mark.image == image for mark in pool.reopened),
        "unedited": image in pool.store.unedited_labels,
        "warnings": pool.store.get_label_info(image, FINAL).get("warnings", []),
        "failed": pool.failed.get(image),
        "events": events,
        "neighbours": neighbours,
    }


def nearest(
    layout: Layout, image: str, others: Mapping[str, str], width: float | None = None
) -> list[dict[str, Any]]:
    """Return the nearest of `others` on a map, without the image itself, with their distances in map units.

    :param others: the kind of each, such as "labelled"
    :param width: divisor of the picks' distances; if given, each result also has its `share` of it
    """
    row_of = {name: row for row, name in enumerate(layout.images)}
    rows = np.array(sorted(row_of[name] for name in others if name in row_of and name != image), dtype=int)
    if image not in row_of or not len(rows):
        return []
    gaps = np.linalg.norm(layout.points[rows] - layout.points[row_of[image]], axis=1)
    order = np.argsort(gaps, kind="stable")[:_MAX_NEAREST]
    share = {i: {"share": float(gaps[i] / width)} if width else {} for i in order}
    names = [layout.images[row] for row in rows]
    return [
        {"image": names[i], "kind": others[names[i]], "distance": float(gaps[i]), **share[i]} for i in order
    ]


def _describe(context: Context, image: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Describe one ledger entry for people."""
    details = entry["details"]
    description: dict[str, Any] = {
        "id": entry["id"],
        "time": entry["created"],
        "event": entry["event"],
        "who": details.get("by") or details.get("client") or details.get("user"),
        "reason": details.get("reason"),
        "details": {k: v for k, v in details.items() if k not in ("selection", "client", "by", "reason")},
    }
    if entry["event"] != "handout":
        return description
    selection = details.get("selection", {})
    rule = rule_of(details["source"], selection)
    method = METHODS.get(rule)
    is_compared = method is not None and not method.needs <= {"foreground"}  # else by lot, or by hand
    plan = _plan_of(context, details["source"], image, entry["created"])
    return description | {
        "reason": selection.get("reason"),
        "plain": plain_reason(method, selection),
        "rule": {
            "name": rule,
            "text": method.text if method else _BY_HAND.get(rule, "A method that is not installed here"),
            "paper": method.paper if method else None,
        },
        "numbers": {k: v for k, v in selection.items() if k not in _NOT_NUMBERS and v is not None},
        "plan": plan.id if plan else None,
        "neighbours": _compared_images(context, image, plan, entry["id"]) if is_compared else [],
    }


def rule_of(source: str, selection: Mapping[str, Any]) -> str:
    """Return the method that chose a hand-out, or a key of _BY_HAND.

    :param source: key of the plan or ranking; of one that no method has now, the role tells the likeliest
    """
    role = selection.get("role")
    if named := selection.get("method"):
        return str(named)
    if role in _BY_HAND:
        return str(role)
    if planner := method_of_key(source):
        return planner.name
    if role in ("provisional", "random"):
        return "random"
    if role in ("most_uncertain", "combined"):
        return "active"
    return "cold_start" if selection.get("rank") is not None else "farthest_first"


def _plan_of(context: Context, key: str, image: str, moment: float) -> Plan | None:
    """Return the plan that a hand-out came from, or None."""
    plan_id = context.state.plans.newest_before(key, moment)
    plan = context.state.plans.get(plan_id) if plan_id is not None else None
    return plan if plan and any(pick["image"] == image for pick in plan.picks) else None


def _compared_images(context: Context, image: str, plan: Plan | None, entry: int) -> list[dict[str, Any]]:
    """Return the nearest images that a pick was compared with, on the map it was picked from."""
    layout = context.state.maps.get(plan.layout) if plan else context.layout()
    if layout is None:
        return []
    if plan is None or LABELS in plan.details:
        labelled_before, leased = context.state.ledger.given_before(entry)
        given = {**dict.fromkeys(leased, "handed out"), **dict.fromkeys(labelled_before, "labelled")}
        return nearest(layout, image, given)
    rank = next(i for i, pick in enumerate(plan.picks) if pick["image"] == image)
    pick, earlier_picks = plan.picks[rank], [earlier_pick["image"] for earlier_pick in plan.picks[:rank]]
    if pick.get("role") == "medoid":
        return nearest(layout, image, dict.fromkeys(_cluster_members(context, pick), "same cluster"))
    if "labelled" not in plan.details:  # a plan for the whole pool: its clusters go their own ways
        earlier_picks = [p["image"] for p in plan.picks[:rank] if p.get("cluster") == pick.get("cluster")]
        return nearest(layout, image, dict.fromkeys(earlier_picks, "picked before in its cluster"))
    labelled = dict.fromkeys(plan.details.get("labelled", []), "labelled")
    others = {**dict.fromkeys(earlier_picks, "picked before"), **labelled}
    return nearest(layout, image, others, plan.details.get("width"))


def _cluster_members(context: Context, pick: Mapping[str, Any]) -> set[str]:
    """Return the images in a pick's cluster."""
    clusters = context.state.scores.measures(context.cold_key, CLUSTER).get(CLUSTER, {})
    return {image for image, cluster in clusters.items() if cluster == pick["cluster"]}
