"""Straightforward planning with scikit-learn and SciPy: the baseline of `benchmarks.speed.planning`.

Recomputes everything at every step, in blocks of rows where all pairs would not fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from strategies.selectors import allocate
from strategies.selectors.numerics.cluster import numbered_by_size

_MAX_DISTANCES = 1 << 24  # distances in memory at once
EPS = 1e-8


def _blocks(points: np.ndarray) -> Iterator[np.ndarray]:
    """Yield distances (n, N) of blocks of rows to all rows."""
    step = max(1, _MAX_DISTANCES // len(points))
    for at in range(0, len(points), step):
        yield cdist(points[at : at + step], points)


def diameter(points: np.ndarray) -> float:
    """Return the largest distance between two rows."""
    return float(max(block.max() for block in _blocks(points)))


def medoid(points: np.ndarray) -> int:
    """Return the row with the smallest sum of distances to all."""
    return int(np.argmin(np.concatenate([block.sum(axis=1) for block in _blocks(points)])))


def best_clustering(points: np.ndarray, seed: int, n_init: int) -> np.ndarray:
    """Return the k-means labels (N,) for the k in 2 .. 20 with the highest silhouette."""
    labellings = [KMeans(k, n_init=n_init, random_state=seed).fit_predict(points) for k in range(2, 21)]
    scores = [silhouette_score(points, labels) for labels in labellings]
    return numbered_by_size(labellings[int(np.argmax(scores))])


def farthest(points: np.ndarray, picks: Sequence[int], count: int) -> list[int]:
    """Return `count` rows, each the farthest from `picks` and the rows before it."""
    rows = list(picks)
    while len(rows) < len(picks) + count:
        reach = cdist(points, points[rows]).min(axis=1)
        reach[rows] = -1.0
        rows.append(int(np.argmax(reach)))
    return rows[len(picks) :]


def cold_start(points: np.ndarray, labels: np.ndarray, budget: int) -> list[int]:
    """Return medoids and the farthest rows of each cluster, sorted.

    arXiv 2601.18532, sections 3.1.4 and 3.1.5.
    """
    clusters = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    picks: list[int] = []
    extra = allocate([len(rows) for rows in clusters], budget - len(clusters))
    for rows, count in zip(clusters, extra, strict=True):
        middle = medoid(points[rows])
        picks += rows[[middle, *farthest(points[rows], [middle], int(count))]].tolist()
    return sorted(picks)


def active(
    points: np.ndarray, entropy: np.ndarray, budget: int, alpha: float, labelled: Sequence[int]
) -> list[int]:
    """Return rows by alpha * distance + (1 - alpha) * entropy, in order.

    arXiv 2601.18532, section 3.2.
    """
    pool = np.setdiff1d(np.arange(len(points)), labelled)
    width, value = diameter(points[pool]) + EPS, entropy[pool]
    uncertain = (value - value.min()) / (value.max() - value.min() + EPS)
    open_rows = np.ones(len(pool), dtype=bool)
    picks: list[int] = []
    while len(picks) < budget:
        reach = cdist(points[pool], points[[*labelled, *picks]]).min(axis=1) / width
        score = alpha * reach + (1 - alpha) * uncertain if picks else value
        at = int(np.argmax(np.where(open_rows, score, -np.inf)))
        open_rows[at] = False
        picks.append(int(pool[at]))
    return picks
