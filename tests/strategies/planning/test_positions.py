"""Positions of slices by the numbers in their ids."""

from __future__ import annotations

import numpy as np

from strategies.planning.positions import positions_of


def test_slices_lie_between_the_first_and_the_last_of_their_volume() -> None:
    images = ["a_s002", "a_s004", "a_s010", "b_s1", "b_s2", "c-slice_7", "c-slice_8", "c-slice_9", "chest_12"]
    positions = positions_of(images)
    assert positions is not None
    np.testing.assert_array_equal(positions, [0, 0.25, 1, np.nan, np.nan, 0, 0.5, 1, np.nan])


def test_films_of_a_patient_are_no_slices() -> None:
    assert positions_of([f"patient1_{n:03d}" for n in range(9)]) is None and positions_of([]) is None
