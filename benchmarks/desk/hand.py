"""A hand with a mouse and a keyboard: draws outlines, wipes errors away, and counts what it does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

from benchmarks.desk.page import DeskPage, Pixel

_TOLERANCE = 2.0  # pixels that an outline may be off
_WIDEST = 61  # pixels of the eraser
_HABIT = 700  # milliseconds after a click that closed a polygon, in which the desk takes no Enter
_STEP = 0.7  # of the eraser's size, between two sweeps


class Hand:
    """Draws on the desk, and counts.

    :ivar clicks: presses of the mouse's button
    :ivar pressed: keys
    :ivar path: pixels on the screen that the mouse moved while pressed
    """

    def __init__(self, desk: DeskPage) -> None:
        self.desk = desk
        self.reset()

    def reset(self) -> None:
        self.clicks, self.pressed, self.path = 0, 0, 0.0

    def keys(self, keys: list[str]) -> None:
        self.desk.press(*keys)
        self.pressed += len(keys)

    def outline(self, area: np.ndarray, smallest: int) -> None:
        """Draw an area as polygons, one for each part of at least `smallest` pixels."""
        self.keys(["p"])
        for part in _parts(area, smallest):
            corners = _corners(part)
            for corner in corners:
                self.desk.click(corner)
            self.clicks += len(corners)
            if self.desk.page.locator(
                "#marks circle"
            ).count():  # a click beside the first corner closes it, too
                self.keys(["Enter"])
            else:
                self.desk.page.wait_for_timeout(_HABIT)

    def erase(self, area: np.ndarray, smallest: int) -> None:
        """Wipe areas away with the eraser, each in one sweep of as wide a brush as fits."""
        for part in _parts(area, smallest):
            size = _widest(part)
            self.keys(["e"])
            self.desk.resize(size)
            self.clicks += 1  # the size's slider
            path = _sweep(part, size)
            self.desk.drag(*path)
            self.clicks += 1
            places = [self.desk.at(pixel) for pixel in path]
            self.path += sum(float(np.hypot(b[0] - a[0], b[1] - a[1])) for a, b in pairwise(places))


def _parts(area: np.ndarray, smallest: int) -> list[np.ndarray]:
    labels, count = ndimage.label(area)
    parts = [labels == number for number in range(1, count + 1)]
    return [part for part in parts if part.sum() >= smallest]


def _corners(part: np.ndarray) -> list[Pixel]:
    contour = max(find_contours(np.pad(part, 1).astype(float), 0.5), key=len) - 1
    corners = np.rint(approximate_polygon(contour, _TOLERANCE)[:-1]).astype(int)
    rows, columns = part.shape
    return [(int(np.clip(c, 0, columns - 1)), int(np.clip(r, 0, rows - 1))) for r, c in corners]


def _widest(part: np.ndarray) -> int:
    """Return the size of the widest brush, odd, that the part holds in its middle."""
    reach = ndimage.distance_transform_edt(np.pad(part, 1)).max()
    return int(np.clip(2 * int(reach) - 1, 1, _WIDEST))


def _sweep(part: np.ndarray, size: int) -> list[Pixel]:
    """Return a path through a part, row by row, forth and back."""
    inner = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1] >= size / 2
    rows = np.flatnonzero(inner.any(axis=1))
    path: list[Pixel] = []
    for turn, row in enumerate(rows[:: max(1, int(size * _STEP))]):
        ends = [int(column) for column in np.flatnonzero(inner[row])[[0, -1]]]
        path += [(column, int(row)) for column in (ends if turn % 2 == 0 else ends[::-1])]
    return path or [(int(column), int(row)) for row, column in np.argwhere(part)[:1]]
