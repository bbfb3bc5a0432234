"""Labelled images, as the instant head is fitted on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from infers.instant.features import Features


@dataclass(frozen=True)
class Labelled:
    """A labelled image.

    :ivar features: on the fine grid
    :ivar shares: (n, g, g, 1 + classes) of its planes, as `label_grid` gives them
    :ivar group: patient; images of a group are never on both sides of the cross-validation. Default: none
    """

    features: Features
    shares: np.ndarray
    group: str = ""
