"""How far each image of a map lies from what is labelled, kept up as labels come."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

import numpy as np

from pool.database.maps import Layout
from strategies.selectors.numerics.distances import distances


class Reach:
    """Distance of each row of a map to the nearest labelled one. A new label costs one pass over the map, so
    that a click does not wait for labels times images; a label that was removed starts it anew.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._points: np.ndarray | None = None
        self._rows: dict[str, int] = {}
        self._anchors: set[str] = set()
        self._nearest = np.zeros(0)

    def nearest(
        self, layout: Layout, labelled: Iterable[str], leased: Iterable[str]
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Euclidean distance (N,) of each row to the nearest image that is labelled or in somebody's hands,
        infinite when there is none; and the row of each image. May be called from several threads."""
        wanted = set(labelled)
        with self._lock:
            if self._points is not layout.points or not self._anchors <= wanted:
                self._points, self._anchors = layout.points, set()
                self._rows = {image: row for row, image in enumerate(layout.images)}
                self._nearest = np.full(len(layout.images), np.inf)
            self._nearest = self._closer(self._nearest, wanted - self._anchors)
            self._anchors = wanted
            return self._closer(self._nearest, leased), self._rows

    def _closer(self, nearest: np.ndarray, anchors: Iterable[str]) -> np.ndarray:
        assert self._points is not None
        for row in (self._rows[image] for image in anchors if image in self._rows):
            nearest = np.minimum(nearest, distances(self._points, self._points[row]))
        return nearest
