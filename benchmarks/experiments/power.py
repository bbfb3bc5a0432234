"""Student's interval of paired differences, and how many seeds a difference needs to be seen."""

from __future__ import annotations

import math

from scipy.stats import nct, t

POWER = 0.8
_MOST_SEEDS = 1000


def half_width(deviation: float, seeds: int) -> float:
    """Return half the width of Student's 95 % interval of a mean of paired differences.

    :param deviation: standard deviation of the differences
    """
    return float(t.ppf(0.975, seeds - 1) * deviation / math.sqrt(seeds))


def power_of(effect: float, deviation: float, seeds: int) -> float:
    """Return the chance that a two-sided paired t-test at 5 % sees a mean difference.

    :param effect: the true mean difference
    :param deviation: standard deviation of the paired differences
    """
    critical = t.ppf(0.975, seeds - 1)
    shift = abs(effect) / max(deviation, 1e-12) * math.sqrt(seeds)
    return float(nct.sf(critical, seeds - 1, shift) + nct.cdf(-critical, seeds - 1, shift))


def seeds_needed(effect: float, deviation: float, power: float = POWER) -> int | None:
    """Return the least number of seeds that sees `effect` with this power; None above 1,000."""
    counts = range(2, _MOST_SEEDS + 1)
    return next((n for n in counts if power_of(effect, deviation, n) >= power), None)


def smallest_visible(deviation: float, seeds: int, power: float = POWER) -> float:
    """Return the smallest mean difference that this many seeds see with this power."""
    low, high = 0.0, deviation
    while power_of(high, deviation, seeds) < power:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(middle, deviation, seeds) >= power else (middle, high)
    return high
