"""One line of the table of speed: a piece of work done the plain way and ours, timed in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A comparison.

    :param work: what is done, with its size
    :param baseline: how it is done plainly; what `ratio` is against
    :param ours: how it is done here
    :param baseline_s, ours_s: medians, in seconds of the clock that `clock` names; None: not run, and `note`
        says why
    :param same: how far both results agree, as measured in this run
    :param goal: the ratio wanted, where there is one; :param limit_s: or the most seconds that ours may take
    """

    work: str
    baseline: str
    ours: str
    baseline_s: float | None
    ours_s: float | None
    same: str
    goal: float | None = None
    clock: str = "processor"
    note: str = ""
    limit_s: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is; None where one of both was not run."""
        return self.baseline_s / self.ours_s if self.baseline_s is not None and self.ours_s else None


def median_seconds(
    *works: Callable[[], Any], repeats: int = 5, clock: Callable[[], float] = time.process_time
) -> list[float]:
    """Median seconds of each of `works`, which take turns, so that a busy machine slows all of them alike."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, seconds in zip(works, taken, strict=True):
            started = clock()
            work()
            seconds.append(clock() - started)
    return [statistics.median(seconds) for seconds in taken]
