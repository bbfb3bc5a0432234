"""Labelled images, as the instant head is fitted on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Labelled:
    """A labelled image.

    :ivar features: (n, g, g, CHANNELS) of its planes
    :ivar shares: (n, g, g, 1 + classes), as `label_grid` gives them
    :ivar positions: (n,) of a volume's slices; empty for a 2-D image
    :ivar group: patient; images of a group are never on both sides of the cross-validation. Default: none
    """

    features: np.ndarray
    shares: np.ndarray
    positions: np.ndarray
    group: str = ""
