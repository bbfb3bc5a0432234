"""Calibrated probability that a plane shows a structure.

The head's highest probabilities are scaled by Platt's method (1999, with his targets for few examples) on
the labelled planes, each predicted by a head that was not fitted on it. In a volume they are joined with the
position: planes near labelled ones show what these do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

WIDTH = 0.15  # of the kernel over positions, as a fraction of the volume's height
ENDS = 1.0  # pseudo-counts of planes without the structure at both ends of a volume
PRIOR = 1.0  # strength of the penalty that keeps the slope near 1
_CLIP = 1e-4


@dataclass(frozen=True)
class Presence:
    """Calibration for one structure.

    :ivar slope: of the score's logit
    :ivar offset: added to it
    :ivar positions: of the labelled planes of volumes, in [0, 1]; empty for 2-D images
    :ivar shows: 1 where that plane shows the structure, else 0
    """

    slope: float = 1.0
    offset: float = 0.0
    positions: Sequence[float] = ()
    shows: Sequence[int] = ()

    def probability(self, scores: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
        """Return the probability (n,) that planes with these scores and positions show the structure."""
        logit = self.slope * _logit(scores) + self.offset
        if positions is not None and len(positions) and len(self.positions):
            logit = logit + _logit(self.by_position(positions))
        return np.asarray(1 / (1 + np.exp(-logit)))

    def by_position(self, positions: np.ndarray) -> np.ndarray:
        """Estimate the share of planes at these positions that show the structure, from 0 to 1.

        p = (1/2 + sum_l k_l y_l) / (1 + sum_l k_l + ENDS e), with Gaussian kernels k on the distance to the
        labelled planes l and e on the distance to both ends.
        """
        at = np.asarray(positions, float)
        kernels = np.exp(-(((at[:, None] - np.asarray(self.positions)[None]) / WIDTH) ** 2))
        ends = np.exp(-((at / WIDTH) ** 2)) + np.exp(-(((1 - at) / WIDTH) ** 2))
        return (0.5 + kernels @ np.asarray(self.shows, float)) / (1 + kernels.sum(axis=1) + ENDS * ends)


def fit_presence(scores: np.ndarray, shows: np.ndarray, positions: np.ndarray | None = None) -> Presence:
    """Calibrate scores (n,) in [0, 1] against `shows` (n,) 0 or 1.

    Newton's method on the logistic loss with Platt's targets and a penalty PRIOR / 2 * (slope - 1)^2. Where
    all planes show the structure, or none does, the data cannot tell a slope; it stays near 1.
    """
    x = np.stack([_logit(np.asarray(scores, float)), np.ones(len(scores))], axis=1)
    yes = int(np.sum(shows))
    targets = np.where(np.asarray(shows) > 0, (yes + 1) / (yes + 2), 1 / (len(scores) - yes + 2))
    w, penalty = np.array([1.0, 0.0]), np.diag([PRIOR, 0.05])
    for _ in range(30):
        p = 1 / (1 + np.exp(-(x @ w)))
        gradient = x.T @ (p - targets) + penalty @ (w - [1.0, 0.0])
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + penalty, gradient)
        w = w - np.clip(step, -1, 1)
    return replace(uncalibrated(shows, positions), slope=float(max(w[0], 0.0)), offset=float(w[1]))


def uncalibrated(shows: np.ndarray, positions: np.ndarray | None = None) -> Presence:
    """Return a presence that takes scores as they are, and knows the positions of the labelled planes."""
    places = [] if positions is None else [float(value) for value in positions]
    return Presence(positions=places, shows=[int(value) for value in shows] if places else [])


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, _CLIP, 1 - _CLIP)
    return np.log(p / (1 - p))
