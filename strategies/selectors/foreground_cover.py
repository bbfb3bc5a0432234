"""Coverage of what likely shows something, planned anew after each label."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.components import COUNT
from strategies.selectors.numerics.losses import Coverage
from strategies.selectors.registry import method
from strategies.selectors.rules.checks import (
    FloatArray,
    Groups,
    RowNumbers,
    check_points,
    check_rows,
    check_share,
)
from strategies.selectors.rules.greedy import Greedy
from strategies.selectors.rules.selection import Selection
from strategies.selectors.rules.showing import ETA, SHARE, SURE, likely_rows, likely_to_show


@method(
    "foreground_cover",
    paper="ours",
    needs="features foreground instant",
    text="Images that likely show something, unlike those labelled; learns from each label",
    reason={
        "typical": "Typical of the images that most likely show {structures} ({foreground:.2f}); "
        "none of the {n_labelled} labelled does{head_note}.",
        "likely": "Likely shows {structures} ({foreground:.2f}), "
        "unlike the {n_labelled} labelled{head_note}.",
        "doubtful": "Shows {structures} with a chance of {foreground:.2f}, which few images left exceed, "
        "and is unlike the {n_labelled} labelled{head_note}.",
        "unclear": "It is unclear if it shows {structures} ({foreground:.2f}): its label tells{head_note}.",
    },
    components=COUNT,
    each_label=True,
    key="{name}|{layout}|{source}",
    appends=True,
)
def foreground_cover(
    features: npt.ArrayLike,
    budget: int,
    *,
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
    explore: float = 0.0,
    tail: float = 1.0,
) -> Selection:
    """Cover what likely shows something, by candidates most likely to show something.

    Ours, for pools such as slices of volumes, where the number of labels that show something, and how well
    they cover the images that do, predict Dice best. p is each row's chance to show something. Of the
    candidates with the highest p (the upper `share`, and all of at least `sure`), a pick minimises mean(m) +
    CVaR10(m) as in `tail_cover`, both weighted by p, with m the distance to the nearest label or pick that
    shows something. Before there is one, it minimises mean(m) alone, with m the distance to any label: CVaR10
    would begin with odd images, which are mostly empty. Ties go to the lowest row.

    Args:
        features: (N, D).
        foreground: (N,) chance in [0, 1] that the image shows something; of labelled rows 1 if the label
            does and 0 if it is empty. NaN there, or a pick above 1/2, counts as showing something.
        budget, labelled, candidates, groups, picked, seed: as in `tail_cover`.
        position: (N,) position of a slice in its volume from 0 to 1, NaN for none. Its chance by the labels
            at like positions is joined with `foreground` (`likely_to_show`).
        share, sure: which candidates are compared; 1 and 0 compare all.
        eta: weight of both ends of a volume counting as empty; 0 if structures may lie there.
        explore: share of the picks spent on the candidate with p nearest to 1/2.
        tail: weight of CVaR10, at least 0.

    Returns:
        Evidence: `role` ("likely", "doubtful" with p up to 1/2, "typical" while nothing shows something,
        "unclear" for explored ones), `foreground` (p), `distance` as in `tail_cover` and `n_labelled`.

    Raises:
        ValueError: invalid features, foreground, position, shares, budget, groups or row numbers (see
            `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    likely, _ = likely_to_show(foreground, position, rows.labelled, rows.unlabelled, len(array), eta)
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
    if not 0 <= tail < np.inf:
        raise ValueError(f"tail must be at least 0, not {tail}")
    cover, explore = _Cover(greedy, likely, tail), check_share(explore, "explore")
    picks, role = np.zeros(greedy.count, np.int64), np.zeros(greedy.count, dtype="U8")
    for step in range(greedy.count):
        nth = len(greedy.covered) + step
        if math.floor((nth + 1) * explore) > math.floor(nth * explore):
            row, role[step] = greedy.pick_nearest(likely, 0.5), "unclear"
        else:
            row = greedy.pick(cover.loss, narrow)
            role[step] = "typical" if not cover.is_known else "likely" if likely[row] > 0.5 else "doubtful"
        cover.add(row)
        picks[step] = row
    evidence = {
        "role": role,
        "foreground": likely[picks],
        "distance": greedy.reach(picks),
        "n_labelled": np.full(greedy.count, len(rows.labelled)),
    }
    return Selection(picks, evidence)


class _Cover:
    """Coverage of a pool by its labels that show something and by picks; by all labels until one does.

    Attributes:
        loss: of the present set.
        is_known: True if a label or a likely pick shows something.
    """

    def __init__(self, greedy: Greedy, likely: FloatArray, tail: float) -> None:
        self._greedy, self._likely, self._tail = greedy, likely, tail
        is_picked = ~np.isin(greedy.covered, greedy.rows.labelled)
        self._covering = greedy.covered[is_picked | (likely[greedy.covered] > 0.5)].tolist()
        self.is_known = bool((likely[self._covering] > 0.5).any())
        self.loss = self._from_start()

    def add(self, row: int) -> None:
        """Add a pick."""
        self._covering.append(row)
        if not self.is_known and self._likely[row] > 0.5:
            self.is_known = True
            self.loss = self._from_start()
        else:
            self.loss.add(self._greedy.points[row])

    def _from_start(self) -> Coverage:
        greedy = self._greedy
        around = self._covering if self.is_known else [*greedy.covered, *self._covering]
        anchors = greedy.points[np.array(around, dtype=np.int64)]
        sample = greedy.sample
        return Coverage(
            greedy.points[sample], self._likely[sample], anchors, self._tail if self.is_known else 0.0
        )
