"""The densest row of each cluster, kept away from the picks of other clusters."""

from __future__ import annotations

import operator

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.distances import distances
from strategies.selectors.numerics.neighbours import mean_nearest
from strategies.selectors.registry import CSAL, method
from strategies.selectors.rules.checks import (
    FloatArray,
    Groups,
    IntArray,
    RowNumbers,
    check_budget,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.turns import by_score, cluster_rows, largest_first, take_turns

EPS = 1e-8
NEIGHBOURS = 20


@method(
    "usl",
    paper="Wang et al., ECCV 2022; " + CSAL,
    needs="unit_features",
    text="Dense images of each cluster, kept apart from each other",
    reason="{role} in cluster {cluster} of {cluster_size} images: density {density:.3g}, less "
    "{regularisation:.3g} for nearby picks.",
)
def usl(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
    neighbours: int = NEIGHBOURS,
    weight: float = 0.5,
    alpha: float = 0.5,
    momentum: float = 0.9,
    iterations: int = 10,
) -> Selection:
    """Pick one row per cluster that is in a dense region and not close to the other clusters' picks.

    Unsupervised selective labelling, Wang, Lian and Yu, ECCV 2022, sections 3.1-3.3; see `docs/selection.md`.
    Utility U(i) = 1 / (mean distance to the nearest unlabelled rows). Picks are computed `iterations` times:
    in each round, a cluster picks the candidate with the highest U(i) - weight * R(i), and R becomes
    momentum * R + (1 - momentum) * sum over the picks j of the other clusters of 1 / |f_i - f_j|^alpha; R = 0
    at first. The last round's picks count. Largest cluster first; ties go to the lowest label, then to the
    lowest row. With fewer clusters than picks, clusters take turns, by the last U - weight * R.

    Parameters are those of the paper's CIFAR code, except for the number of neighbours (400 of 50,000 images
    there). The paper's features have unit length; the balance of U and R depends on their scale, so the
    strategy of this name passes unit vectors.

    Args:
        features, budget, labelled, candidates, groups, seed, labels: as in `kmeans_to_budget`.
        neighbours: number of nearest rows that define density, at least 1, capped at all others.
        weight, alpha, momentum: parameters of the regularisation, as above; momentum in [0, 1].
        iterations: number of rounds, at least 1; with 1 there is no regularisation.

    Returns:
        Evidence: `role` ("dense", or "runner-up"), `cluster`, `cluster_size`, `density` (U),
        `regularisation` (weight * R) and `score`, their difference.

    Raises:
        ValueError: invalid features, labels, parameters, budget, groups or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    if operator.index(neighbours) < 1 or operator.index(iterations) < 1:
        raise ValueError(f"neighbours and iterations must be at least 1, not {neighbours} and {iterations}")
    if not (0 <= momentum <= 1 and weight >= 0 and alpha >= 0):
        raise ValueError(
            f"momentum must lie in [0, 1], weight and alpha be >= 0; not {momentum}, {weight}, {alpha}"
        )
    cluster_of = cluster_rows(array, rows, budget, seed, labels)
    clusters = largest_first(cluster_of, rows.unlabelled) if count else []
    density = np.zeros(len(array))
    if count:
        spread = mean_nearest(array[rows.unlabelled], neighbours)
        density[rows.unlabelled] = 1.0 / np.maximum(spread, EPS)
    first_turn = min(count, len(np.unique(cluster_of[rows.candidates])))
    near = np.zeros(len(array))
    for _ in range(iterations - 1 if count else 0):
        best = by_score(density - weight * near)
        picks = take_turns(clusters, cluster_of, rows, first_turn, best).picks
        near = momentum * near + (1 - momentum) * _crowding(array, cluster_of, picks, alpha)
    score = density - weight * near
    turns = take_turns(clusters, cluster_of, rows, count, by_score(score))
    evidence = {
        "role": turns.role("dense"),
        "cluster": turns.cluster,
        "cluster_size": turns.size,
        "density": density[turns.picks],
        "regularisation": weight * near[turns.picks],
        "score": score[turns.picks],
    }
    return Selection(turns.picks, evidence)


def _crowding(points: FloatArray, cluster_of: IntArray, picks: IntArray, alpha: float) -> FloatArray:
    """Sum 1 / distance^alpha over the picks of other clusters, for each row: (N,)."""
    total = np.zeros(len(points))
    for pick in picks:
        other = cluster_of != cluster_of[pick]
        total += np.where(other, 1.0 / np.maximum(distances(points, points[pick]), EPS) ** alpha, 0.0)
    return total
