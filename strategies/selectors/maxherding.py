"""Representation of the pool by a wide kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.components import COUNT
from strategies.selectors.numerics.losses import Herding, median_distance
from strategies.selectors.registry import method
from strategies.selectors.rules.checks import FloatArray, Groups, IntArray, RowNumbers, check_points
from strategies.selectors.rules.greedy import Greedy
from strategies.selectors.rules.selection import Selection


@method(
    "maxherding",
    paper="Bae et al., arXiv 2407.12212",
    needs="unit_features",
    text="The images that represent as much as possible of the pool, by a wide kernel (MaxHerding)",
    reason="With it {represented:.1%} of the pool is represented by what is labelled or picked, {gain:.1%} "
    "more than before: no other adds as much.",
    components=COUNT,
    appends=True,
)
def maxherding(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    picked: RowNumbers = (),
    seed: int = 0,
) -> Selection:
    """Pick repeatedly the candidate that adds most to the pool's similarity to the labelled rows.

    MaxHerding, Bae et al., "Generalized coverage for more robust low-budget active learning", arXiv
    2407.12212: argmax_j mean_i max(0, k_ij - max_l k_il), with k = exp(-(d / sigma)^2) and l the labelled and
    picked rows. All rows i count. Assumed: d in the first 16 principal components, and sigma the median
    distance of two rows, since narrow kernels did badly on radiographs. Ties go to the lowest row; above
    2,000 rows a seeded sample is used (`Greedy`).

    Args:
        features: (N, D), meant to have unit length.
        budget, labelled, candidates, groups, picked, seed: as in `tail_cover`.

    Returns:
        Evidence: `role` ("herding"), `distance` as in `tail_cover`, `gain`, and `represented`, the pool's
        mean similarity after the pick.

    Raises:
        ValueError: invalid features, budget, groups or row numbers (see `checks`).
    """
    greedy = Greedy(
        check_points(features),
        budget,
        labelled=labelled,
        candidates=candidates,
        groups=groups,
        picked=picked,
        seed=seed,
    )
    pool, points = greedy.points[greedy.sample], greedy.points
    loss = Herding(pool, np.ones(len(pool)), points[greedy.covered], median_distance(pool))
    picks, evidence = herd(greedy, loss)
    return Selection(picks, {"role": np.full(greedy.count, "herding"), **evidence})


def herd(
    greedy: Greedy, loss: Herding, narrow: Callable[[IntArray], IntArray] = lambda rows: rows
) -> tuple[IntArray, dict[str, FloatArray]]:
    """Make all picks of a call; return them with `distance`, `gain` and `represented`."""
    picks, represented = np.zeros(greedy.count, np.int64), np.zeros(greedy.count)
    before = 1 - loss.now()
    for step in range(greedy.count):
        picks[step] = row = greedy.pick(loss, narrow)
        loss.add(greedy.points[row])
        represented[step] = 1 - loss.now()
    gain = np.diff(represented, prepend=before)
    return picks, {"distance": greedy.reach(picks), "gain": gain, "represented": represented}
