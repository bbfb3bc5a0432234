"""Pure entropy: the uncertainty half of active selection."""

from __future__ import annotations

import numpy.typing as npt

from strategies.selectors.active import SHARED, active, by_uncertainty
from strategies.selectors.registry import method
from strategies.selectors.rules.checks import Groups, RowNumbers
from strategies.selectors.rules.selection import Selection


def entropy(
    points: npt.ArrayLike,
    entropy: npt.ArrayLike,
    budget: int,
    labelled: RowNumbers = (),
    *,
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
) -> Selection:
    """Pick the candidates with the highest entropy: `active` with alpha 0.

    "Pure Entropy" of Levy et al., arXiv 2601.18532, section 4.4: equation (10) with alpha = 0.
    Arguments, evidence and errors are those of `active`.
    """
    return active(points, entropy, budget, 0.0, labelled, candidates=candidates, groups=groups)


method(
    "entropy",
    text="The most uncertain images of the newest model",
    parameters={"alpha": 0.0},
    for_auto=False,  # there, `active` with this alpha does the same
    **SHARED,
)(by_uncertainty)
