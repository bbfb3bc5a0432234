"""One row of the speed table: the same work done plainly and our way, timed in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A comparison.

    :param work: the work, with its size
    :param baseline: the plain way of doing it, the reference for `ratio`
    :param ours: our way of doing it
    :param baseline_s, ours_s: median seconds of the clock named by `clock`; None: not run, see `note`
    :param same: how far both results agree in this run
    :param goal: the ratio to reach, if any; :param limit_s: or the most seconds ours may take
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
        """Speed-up of ours over the baseline; None if either was not run."""
        return self.baseline_s / self.ours_s if self.baseline_s is not None and self.ours_s else None


def median_seconds(
    *works: Callable[[], Any], repeats: int = 5, clock: Callable[[], float] = time.process_time
) -> list[float]:
    """Return the median seconds of each of `works`, which take turns: other load slows all of them alike."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, seconds in zip(works, taken, strict=True):
            started = clock()
            work()
            seconds.append(clock() - started)
    return [statistics.median(seconds) for seconds in taken]
