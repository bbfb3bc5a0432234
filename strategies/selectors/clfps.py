"""Farthest-first on the sphere of contrastive features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from strategies.selectors.farthest_first import CENTRAL_REASON, farthest_first
from strategies.selectors.numerics.distances import unit_rows
from strategies.selectors.registry import CSAL, method
from strategies.selectors.rules.checks import Groups, RowNumbers, check_points
from strategies.selectors.rules.selection import Selection


@method(
    "clfps",
    paper="Jin et al., Knowledge-Based Systems 241, 2022; " + CSAL,
    needs="features",
    text="Farthest-first by angle, for features of contrastive training",
    reason={
        "central": CENTRAL_REASON,
        "farthest": "{angle:.1f} degrees from the nearest image labelled or picked before: no other is that "
        "far.",
    },
    for_auto=False,  # meant for some encoders only
    appends=True,
    deterministic=True,
)
def clfps(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Selection:
    """Run `farthest_first` on features scaled to unit length.

    CLFPS, Jin et al., "One-shot active learning for image segmentation via contrastive learning and
    diversity-based sampling", Knowledge-Based Systems 241, 2022, as compared in CSAL-3D (MICCAI
    2025). Contrastive learning compares directions, so lengths carry no information. The paper's features
    come from contrastive training on the pool itself; this is its selection step, for any such encoder (DINO,
    MoCo, SimCLR): with others it is farthest-first by angle. A row of zeros stays at the origin.

    Arguments, errors and evidence are those of `farthest_first`, with distances between unit vectors and
    the corresponding `angle` in degrees.
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
