"""Greedy selection: one by one, the row that lowers a loss of the pool most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from strategies.selectors.numerics.components import principal_components
from strategies.selectors.numerics.distances import first_smallest, nearest_distance
from strategies.selectors.numerics.losses import Loss
from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import (
    FloatArray,
    Groups,
    IntArray,
    RowNumbers,
    check_budget,
    check_points,
    check_rows,
    row_numbers,
)

MAX_POOL = 2_000  # rows that a loss is summed over
MAX_COMPARED = 1_000  # rows compared for each pick


class Greedy:
    """One call of a greedy rule on the first principal components of the features.

    Above MAX_POOL rows, the loss is that of a seeded sample of the pool; each pick is the best of at most
    MAX_COMPARED rows, drawn with the same seed from those that may be picked. Time and memory are then
    the same for every larger pool, besides one pass over it per pick.

    Attributes:
        points: (N, K) principal components.
        rows: candidates without the earlier picks, and groups.
        count: number of picks to make.
        covered: rows that are labelled or were picked earlier, sorted.
        sample: rows that losses are summed over, sorted.
    """

    def __init__(
        self,
        features: FloatArray,
        budget: int,
        *,
        labelled: RowNumbers,
        candidates: RowNumbers | None,
        groups: Groups | None,
        picked: RowNumbers,
        seed: int,
    ) -> None:
        """
        Args:
            features: (N, D).
            picked: rows picked before; they count as covered and for their groups. Others: as in
                `farthest_first`.
        """
        array = check_points(features)
        rows = check_rows(len(array), labelled, candidates, groups)
        earlier = row_numbers(picked, len(array), "picked")
        open_rows = np.setdiff1d(rows.candidates, earlier, assume_unique=True)
        self.rows = replace(rows, candidates=open_rows)
        self.points = principal_components(array)
        self.count = min(check_budget(budget), len(open_rows))
        self.covered = np.union1d(rows.labelled, earlier).astype(np.int64)
        self._available = Availability(self.rows, np.arange(len(array)), earlier)
        self._generator = np.random.default_rng(seed)
        self.sample = self._draw(np.arange(len(array)), MAX_POOL)

    def pick(self, loss: Loss, narrow: Callable[[IntArray], IntArray] = lambda rows: rows) -> int:
        """Pick the row that lowers the loss most, the lowest of those tied.

        :param narrow: the rows to choose from, of those that may be picked now
        """
        among = self._draw(narrow(np.flatnonzero(self._available.now)), MAX_COMPARED)
        row = int(among[first_smallest(loss.after(self.points[among]))])
        self._available.take(row)
        return row

    def pick_nearest(self, values: FloatArray, value: float) -> int:
        """Pick the row whose number in `values` (N,) is nearest to `value`, the lowest of those tied."""
        among = np.flatnonzero(self._available.now)
        row = int(among[np.argmin(np.abs(values[among] - value))])
        self._available.take(row)
        return row

    def reach(self, picks: IntArray) -> FloatArray:
        """Return the distance of each pick (B,) to the nearest covered row or earlier pick; 0 if none."""
        reach = nearest_distance(self.points[picks], self.points[self.covered])
        for step in range(1, len(picks)):
            before = nearest_distance(self.points[picks[step : step + 1]], self.points[picks[:step]])
            reach[step] = min(reach[step], before[0])
        return np.where(np.isinf(reach), 0.0, reach)

    def _draw(self, rows: IntArray, most: int) -> IntArray:
        if len(rows) <= most:
            return rows
        return np.sort(self._generator.choice(rows, most, replace=False))
