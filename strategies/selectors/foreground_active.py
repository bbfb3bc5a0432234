"""Active selection that avoids images in which the model sees nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.active import SHARED, active
from strategies.selectors.registry import LEVY, method
from strategies.selectors.rules.checks import (
    Groups,
    RowNumbers,
    check_points,
    check_range,
    check_rows,
)
from strategies.selectors.rules.selection import Selection


@method(
    "foreground_active",
    paper="ours, after " + LEVY,
    needs="map uncertainty foreground model",
    text="Entropy times predicted foreground, combined with distance on the map: for pools with empty images",
    reason="The model is unsure about it (entropy {raw_entropy:.3f} nats), predicts structures on "
    "{foreground:.1%} of it, and it lies {distance:.2f} of the map's width from labelled images.",
    plain=SHARED["plain"],
    parameters={"alpha": lambda this: this.alpha},
    appends=True,
    deterministic=True,
)
def foreground_active(
    points: npt.ArrayLike,
    budget: int,
    *,
    uncertainty: npt.ArrayLike,
    foreground: npt.ArrayLike,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    alpha: float = 0.3,
) -> Selection:
    """Run `active` with entropy times predicted foreground instead of entropy.

    Ours, for pools such as slices of volumes, where many images show no structure: an early model is most
    unsure of the empty ones, and entropy picks little else (`docs/why.md`, evidence). The predicted amount of
    foreground separates them even where the model's uncertainty does not.

    Args:
        points: (N, D), the map.
        uncertainty: (N,) mean entropy of the image in nats, at least 0.
        foreground: (N,) share of the image that the same model predicts as any structure, in [0, 1]. Both
            are ignored for labelled rows, where they may be NaN.
        budget, labelled, candidates, groups, alpha: as in `active`. A larger budget only appends picks.
        seed: unused; the rule is deterministic.

    Returns:
        Evidence of `active`, where `entropy` is the normalised product and `raw_entropy` the unmodified
        entropy in nats; and `foreground`.

    Raises:
        ValueError: an invalid argument or a negative entropy (see `checks`).
    """
    count = len(check_points(points))
    pool = check_rows(count, labelled, candidates, groups).unlabelled
    unsure = check_range(uncertainty, np.inf, pool, count, "uncertainty")
    shown = check_range(foreground, 1.0, pool, count, "foreground")
    chosen = active(points, unsure * shown, budget, alpha, labelled, candidates=candidates, groups=groups)
    own = {"raw_entropy": unsure[chosen.picks], "foreground": shown[chosen.picks]}
    return Selection(chosen.picks, {**chosen.evidence, **own})
