"""Typicality times uncertainty in each cluster, weighted by their agreement over the pool."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.agreement import spearman
from strategies.selectors.numerics.neighbours import mean_nearest
from strategies.selectors.registry import method
from strategies.selectors.rules.checks import (
    FloatArray,
    Groups,
    IntArray,
    RowNumbers,
    check_budget,
    check_entropy,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.turns import by_score, cluster_rows, kmeans, largest_first, take_turns

EPS = 1e-8
MIN_RANK = 0.01
NEIGHBOURS = 20
WEIGHTS = (0.3, 0.7)


@method(
    "cscs",
    paper="arXiv 2606.20765",
    needs="features uncertainty",
    text="Typical and reconstructed badly in each cluster, weighed by how far the two agree",
    reason="{role} in cluster {cluster} of {cluster_size} images: score {score:.2f} with weight {gamma:.2f} "
    "on the uncertainty (both correlate by {dcr:.2f} over the pool).",
)
def cscs(
    features: npt.ArrayLike,
    budget: int,
    *,
    uncertainty: npt.ArrayLike,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
) -> Selection:
    """Pick the candidate of each cluster with the highest T^(1 - gamma) U^gamma.

    CSCS, "Dataset-aware cold-start active learning for annotation-efficient 3D medical image segmentation",
    arXiv 2606.20765; see `docs/selection.md`. T and U are the ranks of typicality (1 / mean distance to the
    nearest unlabelled rows) and of reconstruction uncertainty, scaled to [0, 1] within the cluster, at least
    0.01. gamma = 0.5 + DCR / 4 * a / (1 + a), clipped to [0.3, 0.7], with a = budget / sqrt(N) and DCR
    ("difficulty-coverage ratio") Spearman's correlation of both over the N unlabelled rows. Clusters are
    those of k-means with k = budget on standardised columns of the unlabelled rows, candidates or not.
    Largest cluster first; ties go to the lowest label, then to the lowest row. With fewer clusters than
    picks, clusters take turns.

    The formula follows the code published with the paper. Assumed: 20 neighbours, tied values share their
    mean rank, and DCR = 0 if either is constant.

    Args:
        features, budget, labelled, candidates, groups, seed, labels: as in `kmeans_to_budget`.
        uncertainty: (N,), ignored for labelled rows, where it may be NaN.

    Returns:
        Evidence: `role` ("typical and uncertain", or "runner-up"), `cluster`, `cluster_size`,
        `typicality`, `uncertainty`, `score`, and `gamma` and `dcr`, the same for all.

    Raises:
        ValueError: invalid features, uncertainty, labels, budget, groups or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    unsure = check_entropy(uncertainty, rows.unlabelled, len(array), "uncertainty")
    count = min(check_budget(budget), len(rows.candidates))
    cluster_of = cluster_rows(array, rows, budget, seed, labels, _standardised_kmeans)
    clusters = largest_first(cluster_of, rows.unlabelled) if count else []
    typicality, compared, score = (np.zeros(len(array)) for _ in range(3))
    gamma = dcr = 0.0
    if count:
        typicality[rows.unlabelled] = 1.0 / np.maximum(mean_nearest(array[rows.unlabelled], NEIGHBOURS), EPS)
        compared = np.round(typicality / typicality.max(), 12)  # equal but for rounding
        dcr = spearman(unsure[rows.unlabelled], compared[rows.unlabelled])
        gamma = pacing(dcr, budget, len(rows.unlabelled))
    for members in clusters:
        score[members] = (
            _scaled_ranks(compared[members]) ** (1 - gamma) * _scaled_ranks(unsure[members]) ** gamma
        )
    turns = take_turns(clusters, cluster_of, rows, count, by_score(score))
    evidence = {
        "role": turns.role("typical and uncertain"),
        "cluster": turns.cluster,
        "cluster_size": turns.size,
        "typicality": typicality[turns.picks],
        "uncertainty": unsure[turns.picks],
        "score": score[turns.picks],
        "gamma": np.full(count, gamma),
        "dcr": np.full(count, dcr),
    }
    return Selection(turns.picks, evidence)


def pacing(dcr: float, budget: int, n_rows: int) -> float:
    """Return gamma, the weight of the uncertainty, from the agreement of both signals and the budget."""
    budget = min(budget, n_rows)
    effective = budget / np.sqrt(n_rows)
    return float(np.clip(0.5 + dcr / 4 * effective / (1 + effective), *WEIGHTS))


def _standardised_kmeans(points: FloatArray, k: int, seed: int) -> IntArray:
    spread = points.std(axis=0)
    centred = points - points.mean(axis=0)
    return kmeans(np.divide(centred, spread, out=np.zeros_like(points), where=spread > 0), k, seed)


def _scaled_ranks(values: FloatArray) -> FloatArray:
    """Return ranks within a cluster scaled to [0, 1], at least 0.01; 1 for a lone row."""
    from scipy.stats import rankdata  # slow to import

    if len(values) == 1:
        return np.ones(1)
    return np.clip((rankdata(values) - 1) / (len(values) - 1), MIN_RANK, 1.0)
