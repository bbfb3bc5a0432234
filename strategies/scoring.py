"""Scores of one image by a model or a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from skimage.filters import threshold_otsu

from infers.segmentation.task import Predictor
from strategies.measures import CLASS, FOREGROUND
from strategies.selectors.numerics.mean_entropy import EPS


class Scored(NamedTuple):
    """Scores of one image by a model.

    :param entropy: predictive entropy in nats, the mean over all pixels or voxels (`selectors.mean_entropy`)
    :param measures: `foreground`, the share of pixels not predicted as background, and "class 1",
        ..., the entropies of `selectors.class_entropies`
    """

    entropy: float
    measures: dict[str, float]


def score(predict: Predictor, pixels: Sequence[torch.Tensor]) -> list[Scored]:
    """Score images given as `predict.pixels` returns them. Raises ValueError for damaged weights."""
    totals: dict[int, np.ndarray] = {}
    for batch, probabilities in predict.blocks(pixels):
        sums = _sums(probabilities)
        for number, row in zip(range(len(pixels))[batch], sums, strict=True):
            totals[number] = totals.get(number, 0) + row
    rows = [totals[number] / image[0].numel() for number, image in enumerate(pixels)]
    if not np.isfinite(rows).all():
        raise ValueError("the model outputs values that are not finite: its weights are damaged, train again")
    return [_to_scored(*row.tolist()) for row in rows]


def _to_scored(entropy: float, foreground: float, *classes: float) -> Scored:
    per_class = {f"{CLASS}{n}": value for n, value in enumerate(classes, 1)}
    return Scored(entropy, {FOREGROUND: foreground} | per_class)


@torch.inference_mode()
def _sums(probabilities: torch.Tensor) -> np.ndarray:
    """Sum entropy, foreground and entropy per foreground class over the pixels: (B, C, ...) to (B, 1 + C)."""
    unsure = torch.zeros_like(probabilities[:, 0])
    for channel in probabilities.unbind(1):  # one at a time: volumes with many classes are large
        unsure -= channel * (channel + EPS).log()
    sums = [_sum(unsure), _sum((probabilities.argmax(dim=1) > 0).float())]
    sums += [_sum(unsure * channel) for channel in probabilities[:, 1:].unbind(1)]
    return torch.stack(sums, dim=1).cpu().numpy()


def _sum(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).sum(dim=1, dtype=torch.float64)


def thresholded_foreground(image: np.ndarray) -> float:
    """Return the share of pixels above Otsu's threshold; 0 for a constant image."""
    if image.min() == image.max():
        return 0.0
    return float((image > threshold_otsu(image)).mean())
