"""Cold start: a first set to label that represents the whole pool."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.diameter import diameter
from strategies.selectors.numerics.distances import distances
from strategies.selectors.numerics.medoid import middle
from strategies.selectors.rules.allocate import allocate
from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import (
    BoolArray,
    FloatArray,
    Groups,
    IntArray,
    RowNumbers,
    check_budget,
    check_labels,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection

EPS = 1e-8


def cold_start(
    points: npt.ArrayLike,
    labels: npt.ArrayLike,
    budget: int,
    *,
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
) -> Selection:
    """Medoids, then farthest points in proportion to cluster size.

    Levy et al., arXiv 2601.18532, sections 3.1.4 and 3.1.5, equations (2)-(4); see `docs/selection.md`. The
    medoids come first, by falling cluster size; then, one by one, the row that is farthest from the picks of
    its own cluster, of all clusters that have not had their share, so that stopping early still leaves a good
    set. With more clusters than budget, only the medoids of the largest are picked. Ties go to the lowest
    label, then to the lowest row. Deterministic.

    With groups a cluster that has no row to give now passes its turn on: its medoid comes as soon as a new
    turn opens, and once the others have had their share, the farthest row of any cluster is next. Where the
    medoid itself may not be picked, the row that may with the smallest summed distance to all members is.

    Args:
        points: (N, D), the map.
        labels: (N,) integers, the cluster of each row; any numbering.
        budget: number of picks; from the number of candidates on, all of them are handed out, in order.
        candidates: rows that may be picked; default all. The others take no part at all: clusters, their
            sizes and their medoids are those of the candidate rows.
        groups: (N,) integers or strings, the group of each row; no second pick from one while others are
            untouched (`availability`).

    Returns:
        Evidence: `role` ("medoid" or "farthest"), `cluster` (the label), `distance` to the picks of the
        same cluster at the time of the pick (0 for medoids), and `score`: the cluster's share of the
        candidates for a medoid, the distance divided by the diameter of the candidates for a farthest point.

    Raises:
        ValueError: points, labels, budget, groups or row numbers out of range (see `checks`).
    """
    array = check_points(points)
    cluster_of = check_labels(labels, len(array))
    rows = check_rows(len(array), (), candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    # by label, then by row: what is found first wins a tie
    order = rows.candidates[np.argsort(cluster_of[rows.candidates], kind="stable")]
    names, number, sizes = np.unique(cluster_of[order], return_inverse=True, return_counts=True)
    extra = allocate(sizes, count - len(names)) if count > len(names) else np.zeros_like(sizes)
    at, reach, is_medoid = _pick(array[order], sizes, extra, count, Availability(rows, order))
    share, spread = sizes[number[at]] / max(1, len(order)), diameter(array[rows.candidates]) + EPS
    evidence = {
        "role": np.where(is_medoid, "medoid", "farthest"),
        "cluster": names[number[at]],
        "distance": reach,
        "score": np.where(is_medoid, share, reach / spread),
    }
    return Selection(order[at], evidence)


def _pick(
    points: FloatArray, sizes: IntArray, extra: IntArray, count: int, available: Availability
) -> tuple[IntArray, FloatArray, BoolArray]:
    """Positions in `points` (n, D) in hand-out order, their distance when picked, and which are medoids.

    The clusters lie in `points` one after the other; `sizes` (k,) are their sizes, `extra` (k,) the picks
    that each gets besides its medoid.
    """
    ends = np.cumsum(sizes)
    members = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    without_medoid = np.argsort(-sizes, kind="stable").tolist()
    nearest, has_share = np.full(len(points), np.inf), np.repeat(extra > 0, sizes)
    picks, reach, is_medoid = np.zeros(count, np.int64), np.zeros(count), np.zeros(count, bool)
    left = extra.copy()
    for step in range(count):
        cluster = next((c for c in without_medoid if available.now[members[c]].any()), None)
        if cluster is not None:
            without_medoid.remove(cluster)
            part, is_medoid[step] = members[cluster], True
            at = part.start + middle(points[part], available.now[part])
        else:
            at = _farthest(nearest, available.now, has_share)
            cluster = int(np.searchsorted(ends, at, side="right"))
            part, reach[step] = members[cluster], nearest[at]
            left[cluster] -= 1
            has_share[part] = left[cluster] > 0
        picks[step] = at
        available.take(at)
        nearest[part] = np.minimum(nearest[part], distances(points[part], points[at]))
    return picks, reach, is_medoid


def _farthest(nearest: FloatArray, now: BoolArray, has_share: BoolArray) -> int:
    """The farthest that may be picked now, of a cluster that has not had its share if there is one."""
    wanted = now & has_share
    return int(np.argmax(np.where(wanted if wanted.any() else now, nearest, -np.inf)))
