"""Cold start: a first set of images that represents the whole pool."""

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
    """Pick medoids, then farthest points in proportion to cluster size.

    Levy et al., arXiv 2601.18532, sections 3.1.4 and 3.1.5, equations (2)-(4); see `docs/selection.md`. The
    medoids come first, by decreasing cluster size; then, one by one, the row farthest from the picks of its
    own cluster, among clusters that have not had their share, so stopping early still leaves a good set.
    With more clusters than budget, only the medoids of the largest are picked. Ties go to the lowest label,
    then to the lowest row. Deterministic.

    With groups, a cluster without an available row is passed over: its medoid comes as soon as a new turn
    opens, and once the others have had their share, the farthest row of any cluster is next. If the medoid
    itself is unavailable, the available row with the smallest summed distance to all members is picked.

    Args:
        points: (N, D), the map.
        labels: (N,) integers, the cluster of each row, in any numbering.
        budget: number of picks, capped at the number of candidates.
        candidates: rows that may be picked; default all. Other rows are ignored entirely: clusters, sizes
            and medoids are those of the candidates.
        groups: (N,) integers or strings, the group of each row; no group gives a second pick while another
            has given none (`availability`).

    Returns:
        Evidence: `role` ("medoid" or "farthest"), `cluster` (the label), `distance` to the earlier picks of
        the same cluster (0 for medoids), and `score`: for a medoid its cluster's share of the candidates, for
        a farthest point the distance divided by the diameter of the candidates.

    Raises:
        ValueError: invalid points, labels, budget, groups or row numbers (see `checks`).
    """
    array = check_points(points)
    cluster_of = check_labels(labels, len(array))
    rows = check_rows(len(array), (), candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    # by label, then by row: the first wins a tie
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
    """Return positions in `points` (n, D) in hand-out order, their distances, and which are medoids.

    Clusters are contiguous in `points`; `sizes` (k,) are their sizes, `extra` (k,) their picks besides the
    medoid.
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
    """Return the farthest available row, of a cluster short of its share if there is one."""
    preferred = now & has_share
    return int(np.argmax(np.where(preferred if preferred.any() else now, nearest, -np.inf)))
