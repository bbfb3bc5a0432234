"""The most typical row of each cluster without labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.neighbours import mean_nearest
from strategies.selectors.registry import CSAL, method
from strategies.selectors.rules.checks import (
    Groups,
    RowNumbers,
    check_budget,
    check_labels,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.turns import by_score, kmeans, largest_first, take_turns

EPS = 1e-8
MAX_CLUSTERS = 500
NEIGHBOURS = 20


@method(
    "typiclust",
    paper="Hacohen et al., ICML 2022; " + CSAL,
    needs="features",
    text="The most typical image of each large cluster without labels",
    reason="{role} in cluster {cluster} of {cluster_size} images, {labelled_in_cluster} of them labelled "
    "(typicality {typicality:.3g}).",
)
def typiclust(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
) -> Selection:
    """Pick the most typical candidate of each cluster, least labelled clusters first, then largest.

    TypiClust, Hacohen, Dekel and Weinshall, "Active learning on a budget", ICML 2022, section 3.2; see
    `docs/selection.md`. All rows, including labelled ones, are clustered by k-means into min(labelled +
    budget, 500) clusters; those with the fewest labelled rows come first, then those with the most rows, then
    the lowest label. Typicality is 1 / (mean distance to the min(20, n_c - 1) nearest members), labelled or
    not, and 0 for a lone row. Ties go to the lowest row. With fewer clusters than picks, clusters take turns.

    Args:
        features, budget, labelled, candidates, groups, seed: as in `kmeans_to_budget`.
        labels: (N,) integers, a clustering of all rows, labelled ones included, to use instead of k-means.

    Returns:
        Evidence: `role` ("most typical", or "runner-up"), `cluster`, `cluster_size`, `typicality` and
        `labelled_in_cluster` before the call.

    Raises:
        ValueError: invalid features, labels, budget, groups or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    if labels is not None:
        cluster_of = check_labels(labels, len(array))
    elif count:
        cluster_of = kmeans(array, min(len(rows.labelled) + budget, MAX_CLUSTERS), seed)
    else:
        cluster_of = np.zeros(len(array), dtype=np.int64)
    clusters = largest_first(cluster_of, np.arange(len(array))) if count else []
    n_labelled = {int(name): int((cluster_of[rows.labelled] == name).sum()) for name in np.unique(cluster_of)}
    clusters.sort(key=lambda members: n_labelled[int(cluster_of[members[0]])])  # stable sort
    reach, typicality = np.zeros(len(array)), np.zeros(len(array))
    for members in clusters:
        reach[members] = mean_nearest(array[members], NEIGHBOURS)
        if len(members) > 1:
            typicality[members] = 1.0 / np.maximum(reach[members], EPS)
    turns = take_turns(clusters, cluster_of, rows, count, by_score(-reach))
    evidence = {
        "role": turns.role("most typical"),
        "cluster": turns.cluster,
        "cluster_size": turns.size,
        "typicality": typicality[turns.picks],
        "labelled_in_cluster": np.array([n_labelled[int(name)] for name in turns.cluster], dtype=np.int64),
    }
    return Selection(turns.picks, evidence)
