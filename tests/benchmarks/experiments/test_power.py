"""Power and labels saved, against figures worked out otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.experiments.power import half_width, power_of, seeds_needed, smallest_visible
from benchmarks.experiments.savings import needed_for_last
from benchmarks.experiments.statistics import paired


def test_power_is_the_share_of_tests_that_see_the_difference() -> None:
    draws = np.random.default_rng(0).normal(0.8, 1.0, size=(4000, 15))
    means, deviations = draws.mean(axis=1), draws.std(axis=1, ddof=1)
    seen = np.abs(means) > [half_width(deviation, 15) for deviation in deviations]
    assert power_of(0.8, 1.0, 15) == pytest.approx(seen.mean(), abs=0.02)
    assert power_of(0.0, 1.0, 15) == pytest.approx(0.05, abs=1e-6)


def test_seeds_and_smallest_difference_agree() -> None:
    assert seeds_needed(0.5, 1.0) == 34, "the textbook's figure for a paired t-test"
    assert smallest_visible(1.0, 34) == pytest.approx(0.5, abs=0.01)
    assert seeds_needed(1e-6, 1.0) is None


def test_a_difference_has_student_s_interval() -> None:
    difference = paired([0.1, 0.2, 0.3, 0.2, 0.2])
    assert difference is not None and difference.student is not None
    assert difference.student == pytest.approx((0.2 - 0.0878, 0.2 + 0.0878), abs=1e-3)
    assert paired([0.1]).student is None  # type: ignore[union-attr]


def test_the_interval_of_labels_needed_resamples_seeds() -> None:
    ours, theirs = np.tile([0.5, 0.7, 0.9], (6, 1)), np.tile([0.4, 0.6, 0.8], (6, 1))
    assert str(needed_for_last([4, 8, 16], ours, theirs)) == "12.0 [12.0, 12.0]"
    assert str(needed_for_last([4, 8, 16], theirs, ours)) == "never [never, never]"
    seeds = np.sort(np.random.default_rng(0).random((22, 3)))  # sums depend on their order in the last digit
    assert str(needed_for_last([4, 8, 16], seeds, seeds)) == "16.0 [16.0, 16.0]"
    few = needed_for_last([4, 8, 16], ours[:3], theirs[:3])
    assert few.low is None and str(few) == "12.0"
    ours[:3] -= 0.3
    wide = needed_for_last([4, 8, 16], ours, theirs)
    assert wide.low is not None and wide.high is not None and wide.low < wide.labels <= wide.high
