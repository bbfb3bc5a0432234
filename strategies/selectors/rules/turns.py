"""Picks from clusters that take turns, the largest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.cluster import MANY_POINTS, count_distinct, numbered_by_size
from strategies.selectors.numerics.distances import first_largest
from strategies.selectors.numerics.kmeans import kmeans_labels
from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import FloatArray, IntArray, Rows, check_labels

# (the cluster's members, those available now) -> the row to pick; all as row numbers
Choice = Callable[[IntArray, IntArray], int]
Labeller = Callable[[FloatArray, int, int], IntArray]


@dataclass(frozen=True, eq=False)
class Turns:
    """Picks in hand-out order (B,), with the cluster of each, its size, and its number of earlier picks."""

    picks: IntArray
    cluster: IntArray
    size: IntArray
    turn: IntArray

    def role(self, first: str) -> npt.NDArray[np.str_]:
        """Return `first` for the first pick of a cluster, "runner-up" for the others."""
        return np.where(self.turn == 0, first, "runner-up")


def kmeans(points: FloatArray, k: int, seed: int) -> IntArray:
    """Return k-means labels (N,), numbered by decreasing size, then by lowest row; seeded, on one thread.

    10 starts up to 10,000 points, one above. There are fewer than `k` clusters if there are fewer distinct
    points; with at most `k` points, each distinct point is a cluster.
    """
    if k >= len(points):
        return numbered_by_size(np.unique(points, axis=0, return_inverse=True)[1].reshape(len(points)))
    distinct = count_distinct(points, k)
    if distinct < 2:
        return np.zeros(len(points), dtype=np.int64)
    n_init = 10 if len(points) <= MANY_POINTS else 1
    return numbered_by_size(kmeans_labels(points, distinct, n_init, seed))


def cluster_rows(
    points: FloatArray,
    rows: Rows,
    budget: int,
    seed: int,
    labels: npt.ArrayLike | None,
    labeller: Labeller = kmeans,
) -> IntArray:
    """Return the cluster of each unlabelled row (N,); -1 for labelled rows.

    :param labels: an existing clustering; ignored for labelled rows
    :param labeller: without `labels`, makes `budget` clusters of the unlabelled rows, candidates or not
    """
    cluster_of = np.full(len(points), -1, dtype=np.int64)
    if labels is not None:
        cluster_of[rows.unlabelled] = check_labels(labels, len(points))[rows.unlabelled]
    elif len(rows.candidates) and budget:
        cluster_of[rows.unlabelled] = labeller(points[rows.unlabelled], budget, seed)
    return cluster_of


def largest_first(labels: IntArray, members: IntArray) -> list[IntArray]:
    """Return the rows of each cluster among `members`, by decreasing size, then lowest label."""
    names, inverse, sizes = np.unique(labels[members], return_inverse=True, return_counts=True)
    parts = np.split(members[np.argsort(inverse, kind="stable")], np.cumsum(sizes)[:-1])
    return [parts[at] for at in np.argsort(-sizes, kind="stable")] if len(names) else []


def take_turns(
    clusters: Sequence[IntArray], labels: IntArray, rows: Rows, count: int, choose: Choice
) -> Turns:
    """Pick one row from each cluster in the given order, then another from each, up to `count` picks.

    `clusters` hold row numbers, and `count` is at most the number of candidates. A cluster without available
    candidates (`availability`) is passed over.
    """
    picked = list(_turns(clusters, Availability(rows, np.arange(len(labels))), count, choose))
    picks = np.array([row for row, _, _ in picked], dtype=np.int64)
    sizes = np.array([size for _, size, _ in picked], dtype=np.int64)
    turns = np.array([turn for _, _, turn in picked], dtype=np.int64)
    return Turns(picks, labels[picks], sizes, turns)


def _turns(
    clusters: Sequence[IntArray], available: Availability, count: int, choose: Choice
) -> Iterator[tuple[int, int, int]]:
    left, given = count, [0] * len(clusters)
    while left:
        for number, members in enumerate(clusters):
            open_rows = members[available.now[members]]
            if left and len(open_rows):
                row = choose(members, open_rows)
                available.take(row)
                left -= 1
                yield row, len(members), given[number]
                given[number] += 1


def by_score(score: FloatArray, scale: float = 0.0) -> Choice:
    """Choose the row with the highest score, the lowest of those tied up to rounding (`first_largest`)."""
    return lambda members, open_rows: int(open_rows[first_largest(score[open_rows], scale)])
