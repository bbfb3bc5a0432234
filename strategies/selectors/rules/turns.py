"""Picks from clusters: each cluster gives one in turn, the largest first."""

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

# the cluster's members and those of them that may be picked now, as row numbers: the row to pick
Choice = Callable[[IntArray, IntArray], int]
Labeller = Callable[[FloatArray, int, int], IntArray]


@dataclass(frozen=True, eq=False)
class Turns:
    """Picks in hand-out order (B,), the cluster of each, that cluster's size, and how many it gave before."""

    picks: IntArray
    cluster: IntArray
    size: IntArray
    turn: IntArray

    def role(self, first: str) -> npt.NDArray[np.str_]:
        """`first` for the first pick of a cluster, "runner-up" for its others."""
        return np.where(self.turn == 0, first, "runner-up")


def kmeans(points: FloatArray, k: int, seed: int) -> IntArray:
    """k-means labels (N,), numbered by falling size, then by their lowest row; seeded, on one thread.

    10 starts up to 10,000 points, one above. There are fewer than `k` clusters where there are fewer distinct
    points; with as many points as clusters wanted, each distinct point is one.
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
    """Cluster of each unlabelled row, (N,); -1 for labelled rows.

    :param labels: a clustering one already has, whose values for labelled rows are not looked at
    :param labeller: else makes `budget` clusters of the unlabelled rows, candidates or not
    """
    found = np.full(len(points), -1, dtype=np.int64)
    if labels is not None:
        found[rows.unlabelled] = check_labels(labels, len(points))[rows.unlabelled]
    elif len(rows.candidates) and budget:
        found[rows.unlabelled] = labeller(points[rows.unlabelled], budget, seed)
    return found


def largest_first(labels: IntArray, members: IntArray) -> list[IntArray]:
    """Rows of each cluster among `members`, by falling size, then lowest label."""
    names, inverse, sizes = np.unique(labels[members], return_inverse=True, return_counts=True)
    parts = np.split(members[np.argsort(inverse, kind="stable")], np.cumsum(sizes)[:-1])
    return [parts[at] for at in np.argsort(-sizes, kind="stable")] if len(names) else []


def take_turns(
    clusters: Sequence[IntArray], labels: IntArray, rows: Rows, count: int, choose: Choice
) -> Turns:
    """One pick from each cluster in the order given, then, while more are wanted, another from each.

    `clusters` hold row numbers, and `count` is at most the number of candidates. A cluster without candidates
    that may be picked now (`availability`) is passed over.
    """
    found = list(_turns(clusters, Availability(rows, np.arange(len(labels))), count, choose))
    picks = np.array([row for row, _, _ in found], dtype=np.int64)
    sizes = np.array([size for _, size, _ in found], dtype=np.int64)
    turns = np.array([turn for _, _, turn in found], dtype=np.int64)
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
    """Choose the row with the highest score; rows that tie but for rounding (`first_largest`): the lowest."""
    return lambda members, open_rows: int(open_rows[first_largest(score[open_rows], scale)])
