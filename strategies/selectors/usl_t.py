"""The most confident row of each learnt cluster."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.distances import unit_rows
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

MAX_TRAINED = 5_000  # rows that centroids are trained on
_CHUNK_VALUES = 1 << 22


@method(
    "usl_t",
    paper="Wang et al., ECCV 2022; " + CSAL,
    needs="unit_features",
    text="The image that fits most surely into each learnt cluster",
    reason="{role} of cluster {cluster} of {cluster_size} images: it belongs there with confidence "
    "{confidence:.3f}.",
)
def usl_t(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
) -> Selection:
    """Pick the row with the highest confidence in each of `budget` clusters, whose centroids are trained.

    USL-T, the training-based variant of unsupervised selective labelling, Wang, Lian and Yu, ECCV 2022; see
    `docs/selection.md`. Clusters begin as those of k-means. y = softmax(40 * cosine to the centroids) is a
    row's soft assignment. Adam trains the centroids by a global loss, which pulls confident rows to their own
    cluster, and a local one, which pulls rows to the clusters of their nearest rows (`numerics.centroids`).
    A row then belongs to the cluster with its highest y, its confidence. Largest cluster first; ties go to
    the lowest label, then to the lowest row. With fewer clusters than picks, clusters take turns.

    The paper trains a network on augmented images; here features are frozen and there are no augmentations,
    so that the published head, normalised centroids begun by k-means, is all that is trained. Each step takes
    all rows with all their neighbours, which is the mean of the paper's draws, and involves no chance. Above
    MAX_TRAINED unlabelled rows, these are a seeded sample.

    Args:
        features, budget, labelled, candidates, groups, seed, labels: as in `kmeans_to_budget`; the clusters
            are those that training begins with.

    Returns:
        Evidence: `role` ("most confident", or "runner-up"), `cluster`, `cluster_size`, `confidence` and
        `score`, the logarithm of its odds; with a single cluster, where every confidence is 1, the cosine.

    Raises:
        ValueError: invalid features, labels, budget, groups or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    cluster_of = cluster_rows(array, rows, budget, seed, labels)
    confidence, score = np.zeros(len(array)), np.zeros(len(array))
    if count:
        pool, names = array[rows.unlabelled], np.unique(cluster_of[rows.unlabelled])
        centroids = _trained(pool, np.searchsorted(names, cluster_of[rows.unlabelled]), seed)
        at, confidence[rows.unlabelled], score[rows.unlabelled] = assign(pool, centroids)
        cluster_of[rows.unlabelled] = names[at]
    clusters = largest_first(cluster_of, rows.unlabelled) if count else []
    turns = take_turns(clusters, cluster_of, rows, count, by_score(score))
    evidence = {
        "role": turns.role("most confident"),
        "cluster": turns.cluster,
        "cluster_size": turns.size,
        "confidence": confidence[turns.picks],
        "score": score[turns.picks],
    }
    return Selection(turns.picks, evidence)


def assign(points: FloatArray, centroids: FloatArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return each row's cluster, its confidence there, and the logarithm of its odds: (n,) each.

    :param centroids: (k, D), of unit length; with one of them, the third is the cosine
    """
    from strategies.selectors.numerics.centroids import SCALE  # imports PyTorch

    cluster, confidence, score = np.zeros(len(points), np.int64), np.ones(len(points)), np.zeros(len(points))
    step = max(1, _CHUNK_VALUES // max(len(centroids), points.shape[1]))
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        cosines = unit_rows(points[part]) @ centroids.T
        cluster[part] = np.argmax(cosines, axis=1)
        score[part] = cosines.max(axis=1)
        if len(centroids) > 1:
            others = np.exp(SCALE * (cosines - score[part, None]))
            np.put_along_axis(others, cluster[part, None], 0.0, axis=1)
            score[part] = -np.log(others.sum(axis=1))
            confidence[part] = 1.0 / (1.0 + others.sum(axis=1))
    return cluster, confidence, score


def _trained(pool: FloatArray, labels: IntArray, seed: int) -> FloatArray:
    """Return centroids (k, D), begun at the means of `labels` (n,), trained on at most MAX_TRAINED rows."""
    from strategies.selectors.numerics.centroids import learn_centroids  # imports PyTorch

    means = np.zeros((labels.max() + 1, pool.shape[1]))
    np.add.at(means, labels, unit_rows(pool))
    if len(pool) > MAX_TRAINED:
        pool = pool[np.sort(np.random.default_rng(seed).choice(len(pool), MAX_TRAINED, replace=False))]
    return learn_centroids(pool, means)
