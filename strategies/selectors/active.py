"""Active selection: uncertain images far from the labelled ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.diameter import diameter
from strategies.selectors.numerics.distances import distances, nearest_distance
from strategies.selectors.registry import LEVY, method
from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import (
    FloatArray,
    Groups,
    IntArray,
    RowNumbers,
    check_alpha,
    check_budget,
    check_entropy,
    check_points,
    check_rows,
    row_numbers,
)
from strategies.selectors.rules.selection import Selection

EPS = 1e-8
# entropy and diversity share these: they are `active` with a fixed alpha
SHARED: dict[str, Any] = {
    "paper": LEVY,
    "needs": "map uncertainty model",
    "reason": {
        "most_uncertain": "The model of round {round} is least sure about this image of all.",
        "combined": "The model of round {round} gives it an uncertainty of {entropy:.2f}, from 0, the lowest "
        "in this pool, to 1, the highest, and it lies {distance:.2f} of the map's width from labelled "
        "images, weighed with alpha {alpha:.2g}{alpha_note}.",
    },
    "plain": {
        "most_uncertain": "{model} is least sure about this image of all.",
        "combined": "{model} {unsure}, {joined} {unlike} the labelled images.",
    },
    "key": "active|{layout}|{source}|{alpha}",
    "facts": {"alpha": "alpha", "alpha_why": "alpha_why"},
    "stage": "active",
    "used_up": "New images are not scored yet",
    "grows": True,
    "appends": True,
    "deterministic": True,
}


def active(
    points: npt.ArrayLike,
    entropy: npt.ArrayLike,
    budget: int,
    alpha: float = 0.3,
    labelled: RowNumbers = (),
    *,
    picked: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
) -> Selection:
    """Select by entropy combined with distance on the map.

    Levy et al., arXiv 2601.18532, section 3.2, equations (7)-(10); see `docs/selection.md`.

    The first pick is the candidate with the highest entropy; each further pick is the one with the highest
    alpha * D + (1 - alpha) * H. H is the entropy, min-max normalised; D is the distance to the nearest
    labelled or picked row, divided by the largest distance between two rows. Both are normalised once per
    call over all unlabelled rows, not only the candidates, so skipping an image changes no score. D is 0
    before anything is labelled or picked. Ties go to the lowest row. A larger budget only appends picks.

    Args:
        points: (N, D), the map.
        entropy: (N,), ignored for labelled rows, where it may be NaN.
        budget: number of picks, capped at the number of candidates.
        alpha: weight of the distance, in [0, 1].
        labelled: rows that had a label when the round began; never picked.
        picked: unlabelled rows picked earlier in this round. They count for normalisation, distance and
            groups; if there are any, no pick is made by entropy alone: the greedy rule continues.
        candidates: rows that may be picked; default all unlabelled rows.
        groups: (N,) integers or strings, the group of each row; no group gives a second pick while another
            has given none (`availability`).

    Returns:
        Details: `width`, the largest distance between two unlabelled rows.
        Evidence: `score` at the time of the pick, `entropy` (H), `raw_entropy`, `distance` (D) and `role`
        ("most_uncertain" for the first pick, then "combined").

    Raises:
        ValueError: invalid alpha, points, entropy, groups or row numbers (see `checks`).
    """
    array = check_points(points)
    weight = check_alpha(alpha)
    rows = check_rows(len(array), labelled, candidates, groups)
    earlier = row_numbers(picked, len(array), "picked")
    open_rows = np.setdiff1d(rows.candidates, earlier, assume_unique=True)
    raw = check_entropy(entropy, rows.unlabelled, len(array))
    count = min(check_budget(budget), len(open_rows))
    normalised = _min_max(raw, rows.unlabelled)[open_rows]
    open_points = array[open_rows]
    nearest = nearest_distance(open_points, array[np.union1d(rows.labelled, earlier)])
    width = diameter(array[rows.unlabelled])
    spread = width + EPS
    first = raw[open_rows] if len(earlier) == 0 else None
    available = Availability(rows, open_rows, earlier)
    order, score, reach = _greedy(open_points, first, normalised, nearest, spread, weight, count, available)
    picks = open_rows[order]
    most_uncertain = (np.arange(count) == 0) & (len(earlier) == 0)
    role = np.where(most_uncertain, "most_uncertain", "combined")
    evidence = {
        "score": score,
        "entropy": normalised[order],
        "raw_entropy": raw[picks],
        "distance": reach,
        "role": role,
    }
    return Selection(picks, evidence, {"width": width})


@method(
    "active",
    text="Entropy of the newest model combined with distance on the map",
    parameters={"alpha": lambda this: this.alpha},
    free_alpha=True,
    **SHARED,
)
def by_uncertainty(
    points: npt.ArrayLike, budget: int, *, uncertainty: npt.ArrayLike, seed: int = 0, **arguments: Any
) -> Selection:
    """Run `active` with the arguments of a method; the rule uses no seed."""
    return active(points, uncertainty, budget, **arguments)


def _min_max(raw: FloatArray, pool: IntArray) -> FloatArray:
    """Normalise by equation (7) over the rows of `pool`; other values are meaningless."""
    if len(pool) == 0:
        return np.zeros_like(raw)
    low, high = raw[pool].min(), raw[pool].max()
    return np.asarray((raw - low) / (high - low + EPS), dtype=np.float64)


def _greedy(
    points: FloatArray,
    raw: FloatArray | None,
    normalised: FloatArray,
    nearest: FloatArray,
    spread: float,
    alpha: float,
    count: int,
    available: Availability,
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Take `count` positions in `points` (n, D), in order, with their scores and normalised distances.

    With `raw`, the first is the one with the highest raw entropy.

    Only the last pick can reduce a row's distance to the set, so each step computes one column of distances.
    """
    picks = np.zeros(count, dtype=np.int64)
    scores, reaches = np.zeros(count), np.zeros(count)
    for step in range(count):
        # inf: nothing is labelled or picked yet
        reach = np.where(np.isinf(nearest), 0.0, nearest / spread)
        score = alpha * reach + (1 - alpha) * normalised
        if step == 0 and raw is not None:
            at = int(np.argmax(raw))
        else:
            at = int(np.argmax(np.where(available.now, score, -np.inf)))
        picks[step], scores[step], reaches[step] = at, score[at], reach[at]
        available.take(at)
        np.minimum(nearest, distances(points, points[at]), out=nearest)
    return picks, scores, reaches
