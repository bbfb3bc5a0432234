"""Farthest-first traversal (k-center greedy)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.distances import (
    distances,
    farthest_points,
    first_smallest,
    nearest_distance,
)
from strategies.selectors.registry import CSAL, method
from strategies.selectors.rules.availability import Availability
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

CENTRAL_REASON = "It is nearest to the mean of all images; there is none yet to be far from."


@method(
    "farthest_first",
    paper="Sener and Savarese, ICLR 2018 (k-center greedy); " + CSAL,
    needs="features",
    text="Farthest-first, also called k-center greedy: always what is least like all picked so far",
    reason={
        "central": CENTRAL_REASON,
        "farthest": "{distance:.3g} from the nearest image labelled or picked before: no other is that far.",
    },
    appends=True,
    deterministic=True,
)
def farthest_first(
    points: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Selection:
    """Pick repeatedly the candidate farthest from all labelled and picked rows.

    Without labels, start at the candidate nearest to the mean of all rows. Ties go to the lowest row. A
    larger budget only appends picks. After Geifman and El-Yaniv, "Deep Active Learning over the Long
    Tail", reference [9] of Levy et al., arXiv 2601.18532; see `docs/selection.md`.

    Args:
        points: (N, D), the map or the features.
        budget: number of picks, capped at the number of candidates.
        labelled: rows that have a label; never picked.
        candidates: rows that may be picked; default all unlabelled rows.
        groups: (N,) integers or strings, the group of each row; no group gives a second pick while another
            has given none (`availability`).
        seed: unused; accepted so that all baselines share one signature.

    Returns:
        Evidence: `role` ("farthest", or "central" for a first pick without labels) and `distance` to the
        nearest labelled or earlier picked row (0 for the central one).

    Raises:
        ValueError: invalid points, budget, groups or row numbers (see `checks`).
    """
    array = check_points(points)
    rows = check_rows(len(array), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    open_points = array[rows.candidates]
    available = Availability(rows, rows.candidates)
    if count == 0:
        order, reach = np.zeros(0, dtype=np.int64), np.zeros(0)
    elif len(rows.labelled):
        nearest = nearest_distance(open_points, array[rows.labelled])
        order, reach = farthest_points(open_points, nearest, count, available)
    else:
        order, reach = _from_the_middle(open_points, array.mean(axis=0), count, available)
    central = (np.arange(count) == 0) & (len(rows.labelled) == 0)
    role = np.where(central, "central", "farthest")
    return Selection(rows.candidates[order], {"role": role, "distance": reach})


def _from_the_middle(
    points: FloatArray, mean: FloatArray, count: int, available: Availability
) -> tuple[IntArray, FloatArray]:
    """Run farthest-first from the row nearest to `mean` (D,), with distance 0; count >= 1."""
    start = first_smallest(distances(points, mean))
    available.take(start)
    nearest = distances(points, points[start])
    order, reach = farthest_points(points, nearest, count - 1, available)
    return np.concatenate([[start], order]).astype(np.int64), np.concatenate([[0.0], reach])
