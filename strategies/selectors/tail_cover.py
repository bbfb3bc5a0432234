"""Coverage of the whole pool and of its worst tenth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.numerics.components import COUNT
from strategies.selectors.numerics.losses import Coverage
from strategies.selectors.registry import method
from strategies.selectors.rules.checks import Groups, RowNumbers, check_points
from strategies.selectors.rules.greedy import Greedy
from strategies.selectors.rules.selection import Selection


@method(
    "tail_cover",
    paper="ours",
    needs="features",
    text="The images that leave the pool, and the worst tenth of it, nearest to a labelled one",
    reason="With it, images are {mean:.3g} from the nearest one labelled or picked on average, and those of "
    "the farthest tenth {tail:.3g}: no other pick leaves less.",
    components=COUNT,
    appends=True,
)
def tail_cover(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    picked: RowNumbers = (),
    seed: int = 0,
) -> Selection:
    """Pick repeatedly the candidate that minimises the mean distance plus that of the worst tenth.

    Ours: on radiographs, how far the worst tenth of the pool is from the labels predicts Dice best. With m_i
    the distance of row i to the nearest labelled or picked one, in the first 16 principal components of the
    features, a pick minimises mean(m) + CVaR10(m), the mean of the largest tenth. All rows count, candidates
    or not. Ties go to the lowest row. Picking one at a time, with the earlier ones labelled, gives the same
    picks; above 2,000 rows a seeded sample is used (`Greedy`).

    Args:
        features: (N, D).
        budget, labelled, candidates, groups: as in `farthest_first`. A larger budget only appends picks.
        picked: rows picked earlier; they count as covered, and for their groups.
        seed: seed of the sample, at least 0.

    Returns:
        Evidence: `role` ("cover"), `distance` to the nearest labelled or earlier picked row (0 if there is
        none), and the two terms after the pick, `mean` and `tail`.

    Raises:
        ValueError: invalid features, budget, groups or row numbers (see `checks`).
    """
    greedy = Greedy(
        check_points(features),
        budget,
        labelled=labelled,
        candidates=candidates,
        groups=groups,
        picked=picked,
        seed=seed,
    )
    pool, points = greedy.points[greedy.sample], greedy.points
    loss = Coverage(pool, np.ones(len(pool)), points[greedy.covered])
    picks, mean, tail = np.zeros(greedy.count, np.int64), np.zeros(greedy.count), np.zeros(greedy.count)
    for step in range(greedy.count):
        picks[step] = row = greedy.pick(loss)
        (mean[step],), (tail[step],) = loss.parts(points[[row]])
        loss.add(points[row])
    role = np.full(greedy.count, "cover")
    return Selection(picks, {"role": role, "distance": greedy.reach(picks), "mean": mean, "tail": tail})
