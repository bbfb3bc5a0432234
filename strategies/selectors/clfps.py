"""Farthest-first on the sphere of contrastive features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from strategies.selectors.farthest_first import farthest_first
from strategies.selectors.numerics.distances import unit_rows
from strategies.selectors.rules.checks import Groups, RowNumbers, check_points
from strategies.selectors.rules.selection import Selection


def clfps(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Selection:
    """`farthest_first` on features of length 1.

    CLFPS, Jin et al., "One-shot active learning for image segmentation via contrastive learning and
    diversity-based sampling", Knowledge-Based Systems 241, 2022, as CSAL-3D (MICCAI 2025) compares it.
    Contrastive learning compares directions, so that lengths say nothing. The paper's features come from
    contrastive training on the pool itself; this is its selection step, for any encoder trained by contrast
    (DINO, MoCo, SimCLR): with other features it is farthest-first by angle and no more. A row of zeros stays
    at the origin.

    Arguments and errors are those of `farthest_first`; so is the evidence, with distances between unit
    vectors and the angle in degrees (`angle`) that belongs to each.
    """
    chosen = farthest_first(
        unit_rows(check_points(features)),
        budget,
        labelled=labelled,
        candidates=candidates,
        groups=groups,
        seed=seed,
    )
    angle = np.degrees(2 * np.arcsin(np.clip(chosen.evidence["distance"] / 2, 0.0, 1.0)))
    return replace(chosen, evidence=chosen.evidence | {"angle": angle})
