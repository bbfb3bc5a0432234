"""One k-means cluster per pick, and the row nearest to each centre."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.distances import distances
from strategies.selectors.registry import CSAL, method
from strategies.selectors.rules.checks import Groups, RowNumbers, check_budget, check_points, check_rows
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.turns import by_score, cluster_rows, largest_first, take_turns


@method(
    "alps",
    paper="Yuan et al., EMNLP 2020; " + CSAL,
    needs="features",
    text="As many k-means clusters as picks, the image nearest to each centre",
    reason="{role} of cluster {cluster} of {cluster_size} images ({distance:.3g} from its centre).",
)
def alps(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
) -> Selection:
    """Run k-means with k = budget and pick the candidate nearest to each cluster's centre.

    ALPS, Yuan, Lin and Boyd-Graber, "Cold-start active learning through self-supervised language modeling",
    EMNLP 2020; here on image features, as compared in CSAL-3D (MICCAI 2025). See `docs/selection.md`. The
    centre is the mean of the cluster's unlabelled rows, candidates or not. Largest cluster first; ties go to
    the lowest label, then to the lowest row. With fewer clusters than picks, clusters take turns.

    Args:
        features, budget, labelled, candidates, groups, seed, labels: as in `kmeans_to_budget`.

    Returns:
        Evidence: `role` ("centre", or "runner-up"), `cluster`, `cluster_size` and `distance` to the
        centre.

    Raises:
        ValueError: invalid features, labels, budget, groups or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    cluster_of = cluster_rows(array, rows, budget, seed, labels)
    clusters = largest_first(cluster_of, rows.unlabelled) if count else []
    reach = np.zeros(len(array))
    for members in clusters:
        reach[members] = distances(array[members], array[members].mean(axis=0))
    turns = take_turns(clusters, cluster_of, rows, count, by_score(-reach))
    evidence = {
        "role": turns.role("centre"),
        "cluster": turns.cluster,
        "cluster_size": turns.size,
        "distance": reach[turns.picks],
    }
    return Selection(turns.picks, evidence)
