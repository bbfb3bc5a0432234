"""Random baseline: a seeded random order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.registry import LEVY, method
from strategies.selectors.rules.availability import in_turns
from strategies.selectors.rules.checks import Groups, RowNumbers, check_budget, check_points, check_rows
from strategies.selectors.rules.selection import Selection


@method(
    "random",
    paper=LEVY,
    text="Random images, seeded, one of each patient before a second of any",
    reason="Chosen at random (seed {seed}).",
    appends=True,
)
def random(
    points: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Selection:
    """Pick candidates uniformly at random, without replacement.

    "Random seeding" of Levy et al., arXiv 2601.18532, section 4.4; see `docs/selection.md`. A larger budget
    only appends picks.

    Args:
        points: (N, D); only N matters.
        budget: number of picks, capped at the number of candidates.
        labelled: rows that have a label; never picked.
        candidates: rows that may be picked; default all unlabelled rows.
        groups: (N,) integers or strings, the group of each row; no group gives a second pick while another
            has given none (`availability`).
        seed: seed of the order, at least 0.

    Returns:
        Evidence: `role` ("random").

    Raises:
        ValueError: invalid points, budget, groups, seed or row numbers (see `checks`).
    """
    rows = check_rows(len(check_points(points)), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    order = np.random.default_rng(seed).permutation(rows.candidates)
    picks = in_turns(order, rows.groups)[:count]
    return Selection(picks, {"role": np.full(count, "random")})
