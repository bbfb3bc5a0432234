"""Entropy stratified by class, with power noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.registry import method
from strategies.selectors.rules.availability import Availability
from strategies.selectors.rules.checks import (
    FloatArray,
    Groups,
    RowNumbers,
    check_budget,
    check_entropy,
    check_points,
    check_rows,
)
from strategies.selectors.rules.selection import Selection

FOREGROUND = 0.66
_TINY = 1e-300  # its log is far below that of any non-zero entropy


@method(
    "clasp_pe",
    paper="arXiv 2601.13677",
    needs="uncertainty class_entropy model",
    text="Entropy shared out among the classes, with noise that fades from round to round (ClaSP PE)",
    reason="Drawn by the entropy of {role} ({class_entropy:.3g} nats), with noise.",
    parameters={"beta": lambda this: power_of_round(max(1, this.number))},
    appends=True,
)
def clasp_pe(
    features: npt.ArrayLike,
    budget: int,
    *,
    uncertainty: npt.ArrayLike,
    class_entropy: npt.ArrayLike,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    beta: float = 1.0,
    foreground: float = FOREGROUND,
) -> Selection:
    """Pick partly by the entropy of each foreground class, partly by the whole image's, with noise.

    ClaSP PE, Lueth et al., "Finally outshining the random baseline", arXiv 2601.13677 (TMLR 2026); see
    `docs/selection.md`. The paper queries patches; here, whole images are queried. Each score s becomes log s
    + g, with g drawn from a Gumbel distribution of scale 1 / beta: picking the largest is then drawing
    without replacement with probabilities proportional to s^beta (power noising).

    Assumed, since only the abstract and the code of an earlier version could be found: 66 % of the picks are
    shared equally among the foreground classes (that code has 66 % and 33 %); a class's score is
    `class_entropies`. The order is ours, so that stopping early leaves a stratified set: each pick goes
    to the stratum furthest below its share, ties to the image entropy, then to the lowest class.

    Args:
        features: (N, D); only N matters.
        uncertainty: (N,) entropy of the whole image, at least 0.
        class_entropy: (N, C) entropy of each foreground class, at least 0. Both are ignored for labelled
            rows, where they may be NaN.
        budget, labelled, candidates, groups: as in `random`. A larger budget only appends picks.
        seed: seed of the noise.
        beta: 1 means strong noise, inf none (ties go to the lowest row); see `power_of_round` for a schedule.
        foreground: share of the picks made by class, in [0, 1].

    Returns:
        Evidence: `role` ("the image", "class 1", ...), `class` (from 0; -1 for the image's entropy),
        `uncertainty` of the image, `class_entropy` of that class (the image's for -1) and `score`, log s + g.

    Raises:
        ValueError: an invalid argument or a negative entropy (see `checks`).
    """
    n_rows = len(check_points(features))
    rows = check_rows(n_rows, labelled, candidates, groups)
    scores = _scores(uncertainty, class_entropy, rows.unlabelled, n_rows)
    count = min(check_budget(budget), len(rows.candidates))
    if not beta > 0 or not 0 <= foreground <= 1:
        raise ValueError(f"beta must be above 0 and foreground in [0, 1], not {beta} and {foreground}")
    noise = np.random.default_rng(seed).gumbel(size=scores.shape) / beta
    noised = np.log(np.maximum(scores, _TINY)) + noise
    share = np.full(scores.shape[1], foreground / max(1, scores.shape[1] - 1))
    share[0] = 1 - foreground if scores.shape[1] > 1 else 1.0
    picks, strata = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    available, given = Availability(rows, np.arange(n_rows)), np.zeros(len(share))
    for step in range(count):
        stratum = int(np.argmax(np.round(share * (step + 1) - given, 9)))
        row = int(np.argmax(np.where(available.now, noised[:, stratum], -np.inf)))
        picks[step], strata[step] = row, stratum
        available.take(row)
        given[stratum] += 1
    names = np.array(["the image", *(f"class {c + 1}" for c in range(scores.shape[1] - 1))])
    evidence = {
        "role": names[strata],
        "class": strata - 1,
        "uncertainty": scores[picks, 0],
        "class_entropy": scores[picks, strata],
        "score": noised[picks, strata],
    }
    return Selection(picks, evidence)


def power_of_round(number: int, start: float = 1.0, end: float = 100.0, rounds: int = 5) -> float:
    """Return beta of round 1, 2, ...: from `start` to `end` in equal logarithmic steps, then constant.

    The paper decays the noise by a schedule whose numbers could not be found; these are ours.
    """
    if number < 1 or rounds < 2:
        raise ValueError(f"round must be at least 1 and rounds at least 2, not {number} of {rounds}")
    return float(start * (end / start) ** (min(number - 1, rounds - 1) / (rounds - 1)))


def _scores(
    uncertainty: npt.ArrayLike, class_entropy: npt.ArrayLike, unlabelled: npt.NDArray[np.int64], n_rows: int
) -> FloatArray:
    """Return (N, 1 + C): entropy of the image, then of each class; 0 for labelled rows."""
    classes = np.asarray(class_entropy, dtype=np.float64)
    if classes.ndim != 2 or len(classes) != n_rows:
        raise ValueError(f"class_entropy must have shape ({n_rows}, classes), not {classes.shape}")
    columns = [check_entropy(uncertainty, unlabelled, n_rows, "uncertainty")]
    columns += [check_entropy(column, unlabelled, n_rows, "class_entropy") for column in classes.T]
    scores = np.zeros((n_rows, len(columns)))
    scores[unlabelled] = np.stack(columns, axis=1)[unlabelled]
    if (scores < 0).any():
        row = int(np.flatnonzero((scores < 0).any(axis=1))[0])
        raise ValueError(f"an entropy of row {row} is {scores[row].min()}; it must be at least 0")
    return scores
