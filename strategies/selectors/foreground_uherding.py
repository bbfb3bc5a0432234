"""Representation of what likely shows something and the model is unsure about."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.maxherding import herd
from strategies.selectors.numerics.components import COUNT
from strategies.selectors.registry import method
from strategies.selectors.rules.checks import (
    Groups,
    RowNumbers,
    check_points,
    check_range,
    check_rows,
    check_share,
)
from strategies.selectors.rules.greedy import Greedy
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.showing import ETA, SHARE, SURE, likely_rows, likely_to_show
from strategies.selectors.uherding import CALIBRATED, weighted_loss


@method(
    "foreground_uherding",
    paper="ours, after arXiv 2412.20644",
    needs="unit_features uncertainty foreground instant",
    text="Images that likely show something and represent what the instant model is unsure about",
    reason={
        "herding": "Likely shows {structures} ({foreground:.2f}), and represents {gain:.1%} more "
        "of what does than the {n_labelled} labelled{head_note}.",
        "uncertain": "Likely shows {structures} ({foreground:.2f}), and represents {gain:.1%} more "
        "of what the model of {n_labelled} labels is unsure about (its own uncertainty: {uncertainty:.3g}).",
        "doubtful": "Shows {structures} with a chance of {foreground:.2f}, which few images left exceed, "
        "and represents {gain:.1%} more of what does than the {n_labelled} labelled{head_note}.",
    },
    components=COUNT,
    each_label=True,
    key="{name}|{layout}|{source}",
    appends=True,
)
def foreground_uherding(
    features: npt.ArrayLike,
    budget: int,
    *,
    uncertainty: npt.ArrayLike,
    foreground: npt.ArrayLike,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    picked: RowNumbers = (),
    seed: int = 0,
    position: npt.ArrayLike | None = None,
    share: float = SHARE,
    sure: float = SURE,
    eta: float = ETA,
    calibrated: int = CALIBRATED,
) -> Selection:
    """Run `uherding` with weights p * u on the candidates most likely to show something.

    Ours, for pools such as slices of volumes. p is the chance to show something, u the uncertainty where
    there may be foreground, 1 with fewer than `calibrated` labels. Labelled rows have weight 0.

    Args:
        features, uncertainty, calibrated: as in `uherding`.
        foreground, position, share, sure, eta: as in `foreground_cover`.
        budget, labelled, candidates, groups, picked, seed: as in `tail_cover`.

    Returns:
        Evidence of `uherding`, with the role "doubtful" for picks with p up to 1/2, and `foreground` (p).

    Raises:
        ValueError: an invalid argument or a negative uncertainty (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    unsure = check_range(uncertainty, np.inf, rows.unlabelled, len(array), "uncertainty")
    if len(rows.labelled) < calibrated:
        unsure = np.ones(len(array))
    likely, _ = likely_to_show(foreground, position, rows.labelled, rows.unlabelled, len(array), eta)
    weights = np.zeros(len(array))
    weights[rows.unlabelled] = (likely * unsure)[rows.unlabelled]
    narrow = likely_rows(likely, check_share(share, "share"), check_share(sure, "sure"))
    greedy = Greedy(
        array,
        budget,
        labelled=labelled,
        candidates=candidates,
        groups=groups,
        picked=picked,
        seed=seed,
    )
    picks, evidence = herd(greedy, weighted_loss(greedy, weights), narrow)
    equal = np.ptp(unsure[rows.unlabelled]) == 0 if len(rows.unlabelled) else True
    role = np.where(likely[picks] <= 0.5, "doubtful", "herding" if equal else "uncertain")
    n_labelled = np.full(greedy.count, len(rows.labelled))
    own = {"uncertainty": unsure[picks], "foreground": likely[picks], "n_labelled": n_labelled}
    return Selection(picks, {"role": role, **evidence, **own})
