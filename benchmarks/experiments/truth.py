"""Random labels of which a set share shows something, by the true labels.

For experiments only: nobody knows before labelling which images show something. A method that beats it finds
more than foreground.
"""

from __future__ import annotations

import numpy as np


def truth_order(shows: np.ndarray, share: float, budget: int, seed: int) -> np.ndarray:
    """Draw images so that of the first n picks round(share * n) show something: rows (budget,).

    Once one kind is used up, the other one goes on.

    :param shows: (N,) bool, the true label is not empty
    """
    random = np.random.default_rng(seed)
    shown, empty = (random.permutation(np.flatnonzero(shows == kind)).tolist() for kind in (True, False))
    wanted = np.diff(np.round(share * np.arange(min(budget, len(shows)) + 1)))
    order = [((shown or empty) if count else (empty or shown)).pop() for count in wanted]
    return np.array(order, np.int64)
