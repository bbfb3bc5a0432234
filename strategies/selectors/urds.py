"""The most uncertain among the typical rows of each cluster; and both halves of this rule."""

from __future__ import annotations

import operator

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.distances import dissimilarity, first_largest
from strategies.selectors.numerics.kernel_kmeans import kernel_kmeans
from strategies.selectors.registry import CSAL, method
from strategies.selectors.rules.availability import in_turns
from strategies.selectors.rules.checks import (
    FloatArray,
    Groups,
    IntArray,
    RowNumbers,
    Rows,
    check_budget,
    check_entropy,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.turns import Turns, cluster_rows, largest_first, take_turns

EPS = 1e-8
CANDIDATES = 3


@method(
    "urds",
    paper=CSAL,
    needs="features uncertainty",
    text="Of the three most typical images of each cluster the one reconstructed worst (CSAL-3D)",
    reason="{role}: number {typicality_rank} by typicality in cluster {cluster} of {cluster_size} images, "
    "and the most uncertain of the first ones there ({uncertainty:.3g}).",
)
def urds(
    features: npt.ArrayLike,
    budget: int,
    *,
    uncertainty: npt.ArrayLike,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
    n_cand: int = CANDIDATES,
) -> Selection:
    """Pick the most uncertain of the `n_cand` most typical candidates of each cluster.

    Uncertainty-reinforced diversity sampling of CSAL-3D, Zhu et al., MICCAI 2025, equations (9)-(12); see
    `docs/selection.md`. The unlabelled rows, candidates or not, are clustered into `budget` clusters by
    multi-kernel k-means (`kernel_kmeans`). Typicality is 1 / mean(1 - cosine similarity) to the other
    members, and 0 for a lone row; a row of zeros is similar to none. Largest cluster first; ties go to the
    lowest label, then to the lowest row. With fewer clusters than picks, clusters take turns.

    Args:
        features, budget, labelled, candidates, groups, seed, labels: as in `kmeans_to_budget`.
        uncertainty: (N,), ignored for labelled rows, where it may be NaN.
        n_cand: number of typical rows per cluster among which uncertainty decides, at least 1. The paper's
            best values are 3 for heart and spleen, 5 for brain tumours (20 picks).

    Returns:
        Evidence: `role` ("uncertain and typical", or "runner-up"), `cluster`, `cluster_size`,
        `uncertainty`, `typicality` and `typicality_rank` in the cluster (1 is the most typical).

    Raises:
        ValueError: invalid features, uncertainty, labels, n_cand, budget, groups or row numbers (see
            `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    unsure = check_entropy(uncertainty, rows.unlabelled, len(array), "uncertainty")
    if operator.index(n_cand) < 1:
        raise ValueError(f"n_cand must be at least 1, not {n_cand}")
    turns, clustered = _pick_typical(array, rows, budget, seed, labels, unsure, n_cand)
    evidence = _evidence(turns, clustered) | {
        "role": turns.role("uncertain and typical"),
        "uncertainty": unsure[turns.picks],
    }
    return Selection(turns.picks, evidence)


@method(
    "urds_diversity_only",
    paper=CSAL,
    needs="features",
    text="The most typical image of each cluster: CSAL-3D without uncertainty",
    reason="{role} in cluster {cluster} of {cluster_size} images (typicality {typicality:.3g}).",
    for_auto=False,  # half a rule, for comparison
)
def urds_diversity_only(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
) -> Selection:
    """Pick the most typical candidate of each cluster: `urds` with n_cand = 1, ignoring uncertainty.

    "Div-only" of CSAL-3D, Table 1. Arguments, errors and evidence are those of `urds`, without
    `uncertainty` and with the role "most typical".
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    turns, clustered = _pick_typical(array, rows, budget, seed, labels, np.zeros(len(array)), 1)
    return Selection(turns.picks, _evidence(turns, clustered) | {"role": turns.role("most typical")})


@method(
    "urds_uncertainty_only",
    paper=CSAL,
    needs="uncertainty",
    text="The images reconstructed worst: CSAL-3D without diversity",
    reason="Its reconstructions disagree most (uncertainty {uncertainty:.3g}).",
    deterministic=True,
)
def urds_uncertainty_only(
    features: npt.ArrayLike,
    budget: int,
    *,
    uncertainty: npt.ArrayLike,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Selection:
    """Pick the candidates with the highest uncertainty, without clusters.

    "Unc-only" of CSAL-3D, Table 1. Ties go to the lowest row; a larger budget only appends picks. `seed` is
    unused, since the rule is deterministic; the other arguments and errors are those of `urds`.

    Returns:
        Evidence: `role` ("most uncertain") and `uncertainty`.
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    unsure = check_entropy(uncertainty, rows.unlabelled, len(array), "uncertainty")
    count = min(check_budget(budget), len(rows.candidates))
    order = rows.candidates[np.argsort(-unsure[rows.candidates], kind="stable")]
    picks = in_turns(order, rows.groups)[:count]
    return Selection(picks, {"role": np.full(count, "most uncertain"), "uncertainty": unsure[picks]})


def _pick_typical(
    points: FloatArray,
    rows: Rows,
    budget: int,
    seed: int,
    labels: npt.ArrayLike | None,
    uncertainty: FloatArray,
    n_cand: int,
) -> tuple[Turns, tuple[FloatArray, list[IntArray]]]:
    """Return the picks, each row's mean dissimilarity to its cluster, and the clusters."""
    count = min(check_budget(budget), len(rows.candidates))
    cluster_of = cluster_rows(points, rows, budget, seed, labels, kernel_kmeans)
    clusters = largest_first(cluster_of, rows.unlabelled) if count else []
    dissimilar = np.zeros(len(points))
    for members in clusters:
        dissimilar[members] = dissimilarity(points[members])

    def choose(_: IntArray, open_rows: IntArray) -> int:
        gate: list[int] = []
        left = open_rows
        while len(gate) < n_cand and len(left):
            best = first_largest(-dissimilar[left], scale=1.0)
            gate.append(int(left[best]))
            left = np.delete(left, best)
        return max(gate, key=lambda row: (uncertainty[row], -row))

    return take_turns(clusters, cluster_of, rows, count, choose), (dissimilar, clusters)


def _evidence(
    turns: Turns, clustered: tuple[FloatArray, list[IntArray]]
) -> dict[str, npt.NDArray[np.generic]]:
    dissimilar, clusters = clustered
    rank = np.zeros(len(dissimilar), dtype=np.int64)
    for members in clusters:
        rank[members[np.argsort(dissimilar[members], kind="stable")]] = np.arange(1, len(members) + 1)
    typicality = np.where(turns.size > 1, 1.0 / np.maximum(dissimilar[turns.picks], EPS), 0.0)
    return {
        "cluster": turns.cluster,
        "cluster_size": turns.size,
        "typicality": typicality,
        "typicality_rank": rank[turns.picks],
    }
