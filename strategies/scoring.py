"""What a model, or a threshold, says of one image in numbers."""

from __future__ import annotations

import numpy as np
import torch
from skimage.filters import threshold_otsu

from infers.segmentation import Predictor
from strategies import selectors

FOREGROUND = "foreground"
CLASS = "class "  # and the number of a foreground class, from 1


def judge_prediction(predict: Predictor, pixels: torch.Tensor) -> tuple[float, dict[str, float]]:
    """Predictive entropy of an image, the mean over all pixels or voxels, and its other measures.

    These are `foreground`, the share predicted as another class than the background, and "class 1", ..., the
    entropies of `selectors.class_entropies`.

    :param pixels: what the network sees of the image, from `predict.pixels`
    """
    sizes, rows = [], []
    for block in predict.blocks(pixels):
        array = block.numpy()
        shown = float((array.argmax(axis=0) > 0).mean())
        rows.append([selectors.mean_entropy(array), shown, *selectors.class_entropies(array)])
        sizes.append(array[0].size)
    entropy, shown, *classes = np.average(rows, axis=0, weights=sizes).tolist()
    return entropy, {FOREGROUND: shown} | {f"{CLASS}{c + 1}": value for c, value in enumerate(classes)}


def thresholded_foreground(image: np.ndarray) -> float:
    """Share of an image's pixels above Otsu's threshold; 0 for one that is all alike."""
    if image.min() == image.max():
        return 0.0
    return float((image > threshold_otsu(image)).mean())
