"""Pure distance: the diversity half of active selection."""

from __future__ import annotations

import numpy.typing as npt

from strategies.selectors.active import SHARED, active, by_uncertainty
from strategies.selectors.registry import method
from strategies.selectors.rules.checks import Groups, RowNumbers
from strategies.selectors.rules.selection import Selection


def diversity(
    points: npt.ArrayLike,
    entropy: npt.ArrayLike,
    budget: int,
    labelled: RowNumbers = (),
    *,
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
) -> Selection:
    """Pick the most uncertain candidate, then farthest-first: `active` with alpha 1.

    "Pure diversity" of Levy et al., arXiv 2601.18532, section 4.4: equation (10) with alpha = 1.
    Arguments, evidence and errors are those of `active`.
    """
    return active(points, entropy, budget, 1.0, labelled, candidates=candidates, groups=groups)


method(
    "diversity",
    text="The most uncertain image, then the farthest on the map",
    parameters={"alpha": 1.0},
    for_auto=False,  # there, `active` with this alpha does the same
    **SHARED,
)(by_uncertainty)
