"""The chance that images show something: by a model, by the position of a slice in its volume, or both."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from strategies.selectors.rules.checks import FloatArray, IntArray, check_range

SHARE = 0.1  # of the rows that may be picked: those most likely to show something
SURE = 0.7  # rows at least that likely to show something are always among them
ETA = 1.0  # weight of the ends of a volume, which are mostly empty
_WIDTH = 0.15  # distance in a volume over which labels tell about slices
_STEPS = 200  # positions are compared in so many steps
_CERTAIN = 1e-6


def likely_rows(likely: FloatArray, share: float, sure: float) -> Callable[[IntArray], IntArray]:
    """Return a function that keeps, of the rows given, the `share` with the highest `likely` (N,).

    Rows tied with the last one and rows of at least `sure` are kept, too; at least one row is.
    """

    def narrow(rows: IntArray) -> IntArray:
        values = likely[rows]
        at = len(rows) - max(1, math.ceil(share * len(rows)))
        return rows[values >= min(np.partition(values, at)[at], sure)]

    return narrow


def likely_to_show(
    foreground: npt.ArrayLike,
    position: npt.ArrayLike | None,
    labelled: IntArray,
    unlabelled: IntArray,
    count: int,
    eta: float = ETA,
) -> tuple[FloatArray, FloatArray]:
    """Return each row's chance to show something (N,), and what labels show (N,): 1, 0, or NaN if unknown.

    The chance by `foreground` and that by `position` are joined by the mean of their log-odds. Labelled rows
    have the chance 1 or 0 that their label tells; one that is not known counts as showing something.

    Args:
        foreground: (N,) in [0, 1] for unlabelled rows; of a labelled row, from 1/2 on: it shows something.
        position: (N,) position in the volume from 0 to 1, NaN where there is none; None for none at all.

    Raises:
        ValueError: one of them is of another length or outside [0, 1].
    """
    likely = check_range(foreground, 1.0, unlabelled, count, "foreground").copy()
    shows = np.full(count, np.nan)
    known = labelled[~np.isnan(likely[labelled])]
    shows[known] = likely[known] >= 0.5
    if position is not None:
        places = np.asarray(position, dtype=np.float64)
        if places.shape != (count,) or ((places < 0) | (places > 1)).any():
            raise ValueError(f"position must have one value in [0, 1] or NaN for each of {count} rows")
        has_place = ~np.isnan(places)
        both = (likely, _by_position(np.where(has_place, places, 0.0), has_place, shows, eta))
        odds = [np.log(p / (1 - p)) for p in (np.clip(p, _CERTAIN, 1 - _CERTAIN) for p in both)]
        likely = np.where(has_place, 1 / (1 + np.exp(-(odds[0] + odds[1]) / 2)), likely)
    likely[labelled] = np.where(np.isnan(shows[labelled]), 1.0, shows[labelled])
    return likely, shows


def _by_position(
    places: FloatArray, has_place: npt.NDArray[np.bool_], shows: FloatArray, eta: float
) -> FloatArray:
    """Return the chance of each row (N,) by the labels at like positions; the ends count as empty labels."""
    step = np.rint(places * _STEPS).astype(np.int64)
    known = has_place & ~np.isnan(shows)
    labels = np.bincount(step[known], minlength=_STEPS + 1)
    showing = np.bincount(step[known], weights=shows[known], minlength=_STEPS + 1)
    s = np.arange(_STEPS + 1) / _STEPS
    kernel = np.exp(-(((s[:, None] - s) / _WIDTH) ** 2))
    ends = kernel[:, 0] + kernel[:, -1]
    chance: FloatArray = (0.5 + kernel @ showing) / (1 + kernel @ labels + eta * ends)
    return chance[step]
