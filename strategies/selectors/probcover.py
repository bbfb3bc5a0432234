"""Greedy cover of the pool with balls around the picks."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.diameter import diameter
from strategies.selectors.numerics.distances import distances
from strategies.selectors.numerics.neighbours import count_within, nearest_other
from strategies.selectors.registry import CSAL, method
from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import (
    LARGEST,
    BoolArray,
    FloatArray,
    Groups,
    IntArray,
    RowNumbers,
    check_budget,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.turns import cluster_rows

PURITY = 0.95


@method(
    "probcover",
    paper="Yehuda et al., NeurIPS 2022; " + CSAL,
    needs="features",
    text="Balls of equal size that cover as many images as possible",
    reason="Its ball of radius {delta:.3g} covers {covers} images that no other does; with it {covered:.0%} "
    "are covered.",
)
def probcover(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
    delta: float | None = None,
) -> Selection:
    """Pick repeatedly the candidate whose ball contains the most uncovered rows.

    ProbCover, Yehuda et al., "Active learning through a covering lens", NeurIPS 2022; see
    `docs/selection.md`. Balls are closed. Rows in the balls of labelled rows are covered from the start.
    Every unlabelled row counts, candidate or not. Ties go to the lowest row, even once everything is covered.
    A larger budget with the same `delta` only appends picks. Distances are computed in blocks.

    Args:
        features, budget, labelled, candidates, groups: as in `kmeans_to_budget`.
        seed: seed of the k-means used to choose `delta`.
        labels: (N,) integers, pseudo-labels for choosing `delta`, instead of k-means with k = budget.
        delta: radius of the balls; default `pure_radius` of the unlabelled rows.

    Returns:
        Evidence: `role` ("cover"), `covers` (rows newly covered by the pick), `covered` (share of the
        unlabelled rows covered after it) and `delta`.

    Raises:
        ValueError: invalid features, labels, delta, budget, groups or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    if delta is not None and not 0 <= delta <= LARGEST:
        raise ValueError(f"delta must be a radius of at least 0, not {delta}")
    cluster_of = cluster_rows(array, rows, budget, seed, labels)
    pool = array[rows.unlabelled]
    if delta is None:
        delta = pure_radius(pool, cluster_of[rows.unlabelled]) if count else 0.0
    covered = np.zeros(len(pool), dtype=bool)
    for row in rows.labelled if count else ():
        covered |= distances(pool, array[row]) <= delta
    available = Availability(rows, rows.unlabelled)
    open_rows = np.searchsorted(rows.unlabelled, rows.candidates)
    steps = list(_greedy(pool, open_rows, covered, delta, count, available))
    gains = np.array([gain for _, gain in steps], dtype=np.int64)
    before = int(covered.sum()) - int(gains.sum())  # `covered` includes all picks by now
    evidence = {
        "role": np.full(count, "cover"),
        "covers": gains,
        "covered": (before + np.cumsum(gains)) / max(1, len(pool)),
        "delta": np.full(count, float(delta)),
    }
    return Selection(rows.unlabelled[np.array([at for at, _ in steps], dtype=np.int64)], evidence)


def pure_radius(points: FloatArray, labels: IntArray) -> float:
    """Return the largest radius at which at least 95 % of the balls around `points` (n, D) are pure.

    Section 3.4 of the paper. A closed ball is pure, with one label only, while its radius is below the
    distance to the nearest row with another label, so the largest radius is the last number before one of
    these distances. With a single label it is the diameter; it is 0 if even balls of radius 0 are impure.
    """
    nearest = np.sort(nearest_other(points, labels))
    # in integers: 5 % of 20 rows is exactly one row, unlike in binary fractions
    impure = (len(points) * round((1 - PURITY) * 100)) // 100
    limit = nearest[impure]
    return float(max(0.0, np.nextafter(limit, 0.0))) if np.isfinite(limit) else diameter(points)


def _greedy(
    points: FloatArray,
    open_rows: IntArray,
    covered: BoolArray,
    delta: float,
    count: int,
    available: Availability,
) -> Iterator[tuple[int, int]]:
    """Yield positions in `points` in the order taken, and the rows each newly covers; updates `covered`.

    A row's gain only shrinks, so an old gain is an upper bound: the best one is recomputed, and taken if no
    other bound exceeds it. Of equal bounds the lowest row comes first. Rows whose group has had its turn are
    set aside until the next turn.
    """
    if count == 0:
        return
    bounds = count_within(points[open_rows], points[~covered], delta) if not covered.all() else None
    heap = [(-int(bounds[i]) if bounds is not None else 0, int(row)) for i, row in enumerate(open_rows)]
    heapq.heapify(heap)
    fresh: dict[int, int] = {}  # row -> number of picks when its gain was computed
    aside: list[tuple[int, int]] = []
    turn = available.turn
    for step in range(count):
        if available.turn != turn:
            heap, aside, turn = heap + aside, [], available.turn
            heapq.heapify(heap)
        while True:
            bound, row = heap[0]
            if not available.now[row]:
                aside.append(heapq.heappop(heap))
                continue
            if bound == 0 or fresh.get(row) == step:
                break
            gain = int(((distances(points, points[row]) <= delta) & ~covered).sum())
            fresh[row] = step
            heapq.heapreplace(heap, (-gain, row))
        heapq.heappop(heap)
        available.take(row)
        if bound:
            covered |= distances(points, points[row]) <= delta
        yield row, -bound
