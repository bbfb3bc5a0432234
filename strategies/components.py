"""Principal components of the pool's features, kept for plans that are made anew after each label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from strategies.selectors.numerics.components import principal_components


class Components:
    """The last components of each kind of features, in memory; thread-safe.

    They are computed again when an image joins or leaves the pool, or its file changes.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: dict[str, tuple[list[tuple[str, str]], np.ndarray]] = {}

    def of(
        self, kind: str, images: Sequence[tuple[str, str]], count: int, read: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """Return the first `count` components (N, count) of the features of images.

        :param kind: of the features, with the encoder; one set of images is kept per kind and count
        :param images: (id, fingerprint of its file) per row
        :param read: reads the features (N, D)
        """
        key, rows = f"{kind}|{count}", list(images)
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != rows:
                kept = self._kept[key] = rows, principal_components(read(), count)
            return kept[1]
