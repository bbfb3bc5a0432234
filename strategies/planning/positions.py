"""Positions of slices in their volumes, by the numbers in their ids."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

_SLICE = re.compile(r"^(.*(?:_s|_z|slice)[_-]?)(\d+)$", re.IGNORECASE)
_MIN_SLICES = 3  # fewer do not say where their volume ends


def positions_of(images: Sequence[str]) -> np.ndarray | None:
    """Return the position of each image between the first and last slice of its volume, 0 to 1 (N,).

    Slices of a volume have ids that differ in a number at the end only, after `_s`, `_z` or `slice`, as in
    `case12_s034`. Other images have NaN; None if all have.
    """
    slices: dict[str, dict[int, int]] = defaultdict(dict)  # volume -> row -> number
    for row, image in enumerate(images):
        if match := _SLICE.match(image):
            slices[match[1]][row] = int(match[2])
    positions = np.full(len(images), np.nan)
    for numbers in slices.values():
        first, last = min(numbers.values()), max(numbers.values())
        if len(numbers) >= _MIN_SLICES and last > first:
            positions[list(numbers)] = (np.array(list(numbers.values())) - first) / (last - first)
    return None if np.isnan(positions).all() else positions
