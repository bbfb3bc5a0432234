"""Random baseline as a plan, by which `auto` can begin: one image of each patient in a turn."""

from __future__ import annotations

import numpy.typing as npt

from strategies.selectors.random_order import random
from strategies.selectors.registry import method
from strategies.selectors.rules.checks import Groups, RowNumbers
from strategies.selectors.rules.selection import Selection


@method(
    "random_per_patient",
    paper="ours",
    needs="features",
    text="Random images, one of each patient before a second of any",
    reason="Chosen at random (seed {seed}), one image of each patient where patients are known.",
    appends=True,
)
def random_per_patient(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Selection:
    """Pick as `random` does, in a plan that `auto` can begin with.

    The baseline that other methods have to beat (`benchmarks/search/rule.py`): images of one patient resemble
    one another, so that one of each may be all that another method gains. Groups are the patients.

    Args:
        features: (N, D); only N matters.
        budget, labelled, candidates, groups, seed: as in `random`.

    Returns:
        Evidence: `role` ("random").

    Raises:
        ValueError: as `random`.
    """
    return random(features, budget, labelled=labelled, candidates=candidates, groups=groups, seed=seed)
