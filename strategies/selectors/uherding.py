"""Representation of what the model is unsure about, by a kernel that narrows as labels come."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.maxherding import herd
from strategies.selectors.numerics.components import COUNT
from strategies.selectors.numerics.losses import Herding, least_distance, median_distance
from strategies.selectors.registry import method
from strategies.selectors.rules.checks import (
    FloatArray,
    Groups,
    RowNumbers,
    check_points,
    check_range,
    check_rows,
)
from strategies.selectors.rules.greedy import Greedy
from strategies.selectors.rules.selection import Selection

CALIBRATED = 12  # labels from which on uncertainties count: calibration needs them


@method(
    "uherding",
    paper="Bae et al., arXiv 2412.20644",
    needs="unit_features uncertainty instant",
    text="The images that represent what the instant model is unsure about (UHerding)",
    reason={
        "herding": "Represents {gain:.1%} more of the pool than the {n_labelled} labelled: no other adds as "
        "much{head_note}.",
        "uncertain": "Represents {gain:.1%} more of what the model of {n_labelled} labels is unsure about "
        "(its own uncertainty: {uncertainty:.3g}): no other adds as much.",
    },
    components=COUNT,
    each_label=True,
    key="{name}|{layout}|{source}",
    appends=True,
)
def uherding(
    features: npt.ArrayLike,
    budget: int,
    *,
    uncertainty: npt.ArrayLike,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    picked: RowNumbers = (),
    seed: int = 0,
    calibrated: int = CALIBRATED,
) -> Selection:
    """Run `maxherding` with rows weighted by uncertainty, and a kernel that narrows with the labels.

    UHerding, Bae et al., "Uncertainty herding", arXiv 2412.20644. The kernel's width is the smallest distance
    of two labelled rows, kept between half the median distance of two rows and all of it. With fewer than
    `calibrated` labels, every weight is 1: uncertainties cannot be calibrated yet. Labelled rows have weight
    0 otherwise. Ties go to the lowest row.

    Args:
        features: (N, D), meant to have unit length.
        uncertainty: (N,) at least 0, calibrated; ignored for labelled rows, where it may be NaN.
        budget, labelled, candidates, groups, picked, seed: as in `tail_cover`.
        calibrated: number of labels from which on the uncertainty counts.

    Returns:
        Evidence of `maxherding`, with the role "herding" if all weights are equal and else "uncertain", and
        `uncertainty` (1 if it does not count) and `n_labelled`.

    Raises:
        ValueError: an invalid argument or a negative uncertainty (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    weights = check_range(uncertainty, np.inf, rows.unlabelled, len(array), "uncertainty").copy()
    weights[rows.labelled] = 0.0
    if len(rows.labelled) < calibrated:
        weights = np.ones(len(array))
    greedy = Greedy(
        array,
        budget,
        labelled=labelled,
        candidates=candidates,
        groups=groups,
        picked=picked,
        seed=seed,
    )
    picks, evidence = herd(greedy, weighted_loss(greedy, weights))
    equal = np.ptp(weights[rows.unlabelled]) == 0 if len(rows.unlabelled) else True
    role = np.full(greedy.count, "herding" if equal else "uncertain")
    own = {"uncertainty": weights[picks], "n_labelled": np.full(greedy.count, len(rows.labelled))}
    return Selection(picks, {"role": role, **evidence, **own})


def weighted_loss(greedy: Greedy, weights: FloatArray) -> Herding:
    """Return the loss of rows weighted by `weights` (N,), with the width that follows from the labels."""
    pool, labelled = greedy.points[greedy.sample], greedy.points[greedy.rows.labelled]
    widest = median_distance(pool)
    width = float(np.clip(least_distance(labelled), widest / 2, widest))
    return Herding(pool, weights[greedy.sample], greedy.points[greedy.covered], width)
