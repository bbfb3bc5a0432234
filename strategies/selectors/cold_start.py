"""Cold start: a first set to label that represents the whole pool."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.allocate import allocate
from strategies.selectors.checks import (
    FloatArray,
    IntArray,
    RowNumbers,
    check_budget,
    check_labels,
    check_points,
    check_rows,
)
from strategies.selectors.diameter import diameter
from strategies.selectors.distances import distances, farthest_points
from strategies.selectors.medoid import middle
from strategies.selectors.selection import Selection

EPS = 1e-8


def cold_start(
    points: npt.ArrayLike,
    labels: npt.ArrayLike,
    budget: int,
    *,
    candidates: RowNumbers | None = None,
) -> Selection:
    """Medoids, then farthest points in proportion to cluster size.

    Levy et al., arXiv 2601.18532, sections 3.1.4 and 3.1.5, equations (2)-(4); see `docs/selection.md`. The
    medoids come first, by falling cluster size; then the farthest points of all clusters, by falling distance
    at the time they were picked, so that stopping early still leaves a good set. With more clusters than
    budget, only the medoids of the largest are picked. Ties go to the lowest label, then to the lowest row.
    Deterministic.

    Args:
        points: (N, D), the map.
        labels: (N,) integers, the cluster of each row; any numbering.
        budget: number of picks; from the number of candidates on, all of them are handed out, in order.
        candidates: rows that may be picked; default all. The others take no part at all: clusters, their
            sizes and their medoids are those of the candidate rows.

    Returns:
        Evidence: `role` ("medoid" or "farthest"), `cluster` (the label), `distance` to the picks of the
        same cluster at the time of the pick (0 for medoids), and `score`: the cluster's share of the
        candidates for a medoid, the distance divided by the diameter of the candidates for a farthest point.

    Raises:
        ValueError: points, labels, budget or row numbers out of range (see `checks`).
    """
    array = check_points(points)
    groups = check_labels(labels, len(array))
    rows = check_rows(len(array), (), candidates).candidates
    count = min(check_budget(budget), len(rows))
    array, groups = array[rows], groups[rows]
    names, sizes = np.unique(groups, return_counts=True)
    by_size = np.argsort(-sizes, kind="stable")[:count]
    extra = allocate(sizes, count - len(names)) if count > len(names) else np.zeros_like(sizes)
    parts = [_pick_in_cluster(array, np.flatnonzero(groups == names[at]), int(extra[at])) for at in by_size]
    order, reach = _hand_out(groups, parts)
    medoids = np.arange(len(order)) < len(parts)
    spread = diameter(array) + EPS
    evidence = {
        "role": np.where(medoids, "medoid", "farthest"),
        "cluster": groups[order],
        "distance": reach,
        "score": np.where(medoids, _share(sizes[by_size], len(rows), len(order)), reach / spread),
    }
    return Selection(rows[order], evidence)


def _pick_in_cluster(points: FloatArray, members: IntArray, extra: int) -> tuple[IntArray, FloatArray]:
    """Medoid and `extra` farthest points of one cluster: rows (1 + extra,), distances when picked."""
    cluster = points[members]
    centre = middle(cluster)
    nearest = distances(cluster, cluster[centre])
    nearest[centre] = -np.inf
    picks, reach = farthest_points(cluster, nearest, extra)
    return members[np.concatenate([[centre], picks])], np.concatenate([[0.0], reach])


def _hand_out(labels: IntArray, parts: list[tuple[IntArray, FloatArray]]) -> tuple[IntArray, FloatArray]:
    """All picks and their distances in hand-out order; `parts` come by falling cluster size."""
    medoids = np.array([rows[0] for rows, _ in parts], dtype=np.int64)
    farthest = np.concatenate([medoids[:0], *(rows[1:] for rows, _ in parts)])
    reach = np.concatenate([np.zeros(0), *(distance[1:] for _, distance in parts)])
    order = np.lexsort((farthest, labels[farthest], -reach))
    picks = np.concatenate([medoids, farthest[order]])
    return picks, np.concatenate([np.zeros(len(medoids)), reach[order]])


def _share(sizes: IntArray, total: int, length: int) -> FloatArray:
    """Share of the pool of each of the first clusters, filled up with 0 to `length`."""
    share = np.zeros(length)
    share[: len(sizes)] = sizes / max(total, 1)
    return share
