"""One k-means cluster per pick, and the medoid of each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.cold_start import TYPICAL_REASON
from strategies.selectors.numerics.medoid import middle
from strategies.selectors.registry import LEVY, method
from strategies.selectors.rules.checks import (
    Groups,
    IntArray,
    RowNumbers,
    check_budget,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.turns import cluster_rows, largest_first, take_turns


@method(
    "kmeans_to_budget",
    paper="Yuan et al., EMNLP 2020; " + LEVY,
    needs="features",
    text="As many k-means clusters as picks, the medoid of each",
    reason="{role} of cluster {cluster} of {cluster_size} images (mean distance to them {distance:.3g}).",
    plain={"medoid": TYPICAL_REASON},
)
def kmeans_to_budget(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
) -> Selection:
    """Run k-means with k = budget and pick the medoid of each cluster.

    The baseline "k-means (to budget)" of Levy et al., arXiv 2601.18532, section 4.4, after Yuan et al., EMNLP
    2020; see `docs/selection.md`. All unlabelled rows are clustered, candidates or not; a cluster's pick is
    the candidate with the smallest summed distance to all its members. Largest cluster first; ties go to the
    lowest label, then to the lowest row. With fewer clusters than picks, clusters take turns.

    Args:
        features: (N, D).
        budget: number of picks, capped at the number of candidates.
        labelled: rows that have a label; never picked.
        candidates: rows that may be picked; default all unlabelled rows.
        groups: (N,) integers or strings, the group of each row; no group gives a second pick while another
            has given none (`availability`).
        seed: seed of k-means.
        labels: (N,) integers, an existing clustering to use instead of k-means.

    Returns:
        Evidence: `role` ("medoid", or "runner-up"), `cluster`, `cluster_size` and `distance`, the mean
        distance to the cluster's members.

    Raises:
        ValueError: invalid features, labels, budget, groups or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    cluster_of = cluster_rows(array, rows, budget, seed, labels)

    def choose(members: IntArray, open_rows: IntArray) -> int:
        return int(members[middle(array[members], np.isin(members, open_rows))])

    clusters = largest_first(cluster_of, rows.unlabelled) if count else []
    turns = take_turns(clusters, cluster_of, rows, count, choose)
    members_of = {int(cluster_of[members[0]]): members for members in clusters}
    distance = [
        np.linalg.norm(array[members_of[int(name)]] - array[row], axis=1).mean()
        for row, name in zip(turns.picks, turns.cluster, strict=True)
    ]
    evidence = {
        "role": turns.role("medoid"),
        "cluster": turns.cluster,
        "cluster_size": turns.size,
        "distance": np.array(distance, dtype=np.float64),
    }
    return Selection(turns.picks, evidence)
