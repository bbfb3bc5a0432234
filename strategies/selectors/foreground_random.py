"""Random picks among images with foreground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.registry import method
from strategies.selectors.rules.availability import in_turns
from strategies.selectors.rules.checks import (
    Groups,
    RowNumbers,
    check_budget,
    check_entropy,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection


@method(
    "foreground_random",
    paper="nnActive, TMLR 2025",
    needs="foreground",
    text="Random images that show something: by the newest model, before it by a threshold",
    reason="Chosen at random; {foreground:.1%} of the image is foreground.",
    appends=True,
)
def foreground_random(
    features: npt.ArrayLike,
    budget: int,
    *,
    foreground: npt.ArrayLike,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Selection:
    """Pick candidates with foreground uniformly at random, then those without.

    Whole-image form of the foreground-aware random baseline of nnActive, Lueth et al., TMLR 2025; see
    `docs/selection.md`. If every candidate has foreground, the picks are those of `random`. A larger budget
    only appends picks.

    Args:
        features: (N, D); only N matters.
        foreground: (N,) fraction of the image that is foreground, by a model or a threshold; ignored for
            labelled rows, where it may be NaN.
        budget, labelled, candidates, groups: as in `random`; turns of groups take precedence over foreground.
        seed: seed of the order, at least 0.

    Returns:
        Evidence: `role` ("foreground" or "empty") and `foreground`.

    Raises:
        ValueError: invalid foreground, budget, groups, seed or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    count = min(check_budget(budget), len(rows.candidates))
    shown = check_entropy(foreground, rows.unlabelled, len(array), "foreground")
    order = np.random.default_rng(seed).permutation(rows.candidates)
    order = np.concatenate([order[shown[order] > 0], order[shown[order] <= 0]])
    picks = in_turns(order, rows.groups)[:count]
    role = np.where(shown[picks] > 0, "foreground", "empty")
    return Selection(picks, {"role": role, "foreground": shown[picks]})
