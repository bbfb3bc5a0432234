"""Distance of each image on a map to the nearest labelled one, updated as labels arrive."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

import numpy as np

from pool.database.maps import Layout
from strategies.selectors.numerics.distances import distances


class Reach:
    """Cached distance of each row of a map to the nearest labelled one.

    A new label costs one pass over the map, so a request never waits for labels times images. A removed
    label resets the cache.
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
        """Return each row's Euclidean distance to the nearest labelled or leased image (N,).

        Infinite when there is none. Also returns the row of each image. Thread-safe.
        """
        anchors = set(labelled)
        with self._lock:
            if self._points is not layout.points or not self._anchors <= anchors:
                self._points, self._anchors = layout.points, set()
                self._rows = {image: row for row, image in enumerate(layout.images)}
                self._nearest = np.full(len(layout.images), np.inf)
            self._nearest = self._lower(self._nearest, anchors - self._anchors)
            self._anchors = anchors
            return self._lower(self._nearest, leased), self._rows

    def _lower(self, nearest: np.ndarray, anchors: Iterable[str]) -> np.ndarray:
        assert self._points is not None
        for row in (self._rows[image] for image in anchors if image in self._rows):
            nearest = np.minimum(nearest, distances(self._points, self._points[row]))
        return nearest
