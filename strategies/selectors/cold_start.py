"""Cold start: a first set of images that represents the whole pool."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.cluster import MAX_CLUSTERS, cluster_by_silhouette
from strategies.selectors.numerics.diameter import diameter
from strategies.selectors.numerics.distances import distances
from strategies.selectors.numerics.medoid import middle
from strategies.selectors.numerics.silhouette_null import silhouette_null
from strategies.selectors.registry import LEVY, method
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
TYPICAL_REASON = "The most typical image of cluster {cluster}, a group of images that look alike."
CLUSTER = "cluster"  # measure that holds an image's cluster


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


@method(
    "cold_start",
    paper=LEVY,
    needs="map",
    text="The cold-start plan: typical and diverse images of every cluster",
    reason={
        "medoid": "The most typical image of cluster {cluster}.",
        "farthest": "The image of cluster {cluster} that is least like those picked before it.",
    },
    plain={
        "medoid": TYPICAL_REASON,
        "farthest": "The image of cluster {cluster} that looks least like those picked before it.",
    },
    parameters={"most_clusters": lambda this: this.most_clusters},
    key="cold_start|{layout}|{budget}{fewer_clusters}",
    facts={"clusters": "k", "map_note": "map_note"},
    stage="cold_start",
    used_up="The cold-start plan is used up",
    whole_pool=True,
)
def by_clusters(
    points: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
    most_clusters: int = MAX_CLUSTERS,
) -> Selection:
    """Cluster the candidates (section 3.1) and run `cold_start` on them.

    Args:
        labels: (N,) integers, an existing clustering to use instead.
        most_clusters: maximum number of clusters; never more than `budget`.

    Returns:
        The selection of `cold_start`. Without `labels`, its details say how clear the clusters are, and its
        measures hold the cluster of each row, -1 for rows that are no candidates.
    """
    array = check_points(points)
    rows = check_rows(len(array), labelled, candidates).candidates
    if labels is not None:
        return cold_start(array, labels, budget, candidates=rows, groups=groups)
    max_clusters = min(check_budget(budget), most_clusters)
    clustering = cluster_by_silhouette(array[rows], max_clusters, seed)
    null = silhouette_null(array[rows], max_clusters, seed)
    labels = np.full(len(array), -1, dtype=np.int64)
    labels[rows] = clustering.labels
    chosen = cold_start(array, labels, budget, candidates=rows, groups=groups)
    details = {
        "k": clustering.k,
        "silhouettes": {str(k): score for k, score in clustering.silhouettes.items()},
        "null_silhouette": null,
        "map_note": "no clear clusters on this map"
        if clustering.silhouettes.get(clustering.k, np.nan) <= null
        else None,
        "sizes": np.bincount(clustering.labels).tolist(),
    }
    return replace(chosen, details=details, measures={CLUSTER: labels})


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
