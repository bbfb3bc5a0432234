"""Allocation of further picks to clusters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.rules.checks import IntArray, check_budget


def allocate(sizes: npt.ArrayLike, extra: int) -> IntArray:
    """Share `extra` picks among clusters in proportion to size; one member of each is already taken.

    Levy et al., arXiv 2601.18532, equations (3) and (4); see `docs/selection.md`. Cluster c gets
    round(extra * n_c / N) (a half goes to the even number), never above n_c - 1. Then the cluster furthest
    below its exact share gets one more, or the one furthest above loses one, until the sum is right. Ties go
    to the lowest cluster and are exact, since shares are compared as integers. A full cluster gets no more.

    Args:
        sizes: (k,) number of members of each cluster, all at least 1.
        extra: number of picks to share, at most the sum of n_c - 1.

    Returns:
        (k,) int64 with sum `extra`.

    Raises:
        ValueError: a size below 1, or `extra` negative or above the number of members left.
    """
    counts = np.atleast_1d(np.asarray(sizes))
    if counts.size and (counts.dtype.kind not in "iu" or counts.ndim != 1 or counts.min() < 1):
        raise ValueError(f"sizes must be whole numbers of at least 1, not {counts.tolist()}")
    members = [int(count) for count in counts]
    extra = check_budget(extra)
    total = sum(members)
    if extra > total - len(members):
        raise ValueError(f"cannot share {extra} picks: only {total - len(members)} members are left")
    given = [min(round(extra * size / total), size - 1) for size in members]
    while sum(given) != extra:
        # (share - given) * total
        below = [extra * size - total * got for size, got in zip(members, given, strict=True)]
        if sum(given) < extra:
            room = [c for c, size in enumerate(members) if given[c] < size - 1]
            given[max(room, key=lambda c: below[c])] += 1
        else:
            filled = [c for c, got in enumerate(given) if got > 0]
            given[min(filled, key=lambda c: below[c])] -= 1
    return np.array(given, dtype=np.int64)
