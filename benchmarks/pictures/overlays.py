"""Predictions and reference outlined on held-out images, as in Figure 5 of arXiv 2601.18532."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from pool.imaging.images import read_image
from pool.imaging.volumes import read_volume

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)
from matplotlib.patheffects import withStroke  # noqa: E402

_REFERENCE, _METHODS = "white", ("#56B4E9", "#E69F00")
_WINDOW = (0.5, 99.5)  # percentiles that become black and white


@dataclass(frozen=True)
class Sample:
    """One held-out image.

    :param said: the reason it is shown
    :param reference: label (W, H[, D]) on the image's grid
    :param predictions: for each method, its label on the same grid and its mean Dice
    """

    image: Path
    said: str
    reference: np.ndarray
    predictions: Sequence[tuple[np.ndarray, float]]


def extremes(gains: Mapping[str, float], methods: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (reason, image): the largest gain of the second method, of the first, and the median one.

    :param gains: for each image, Dice of the second method minus that of the first
    """
    order = sorted(gains, key=lambda image: (gains[image], image))
    for reason, image in (
        (f"most in favour of {methods[1]}", order[-1]),
        (f"most in favour of {methods[0]}", order[0]),
        ("the median difference", order[len(order) // 2]),
    ):
        yield f"{reason} ({gains[image]:+.3f})", image


def draw_overlays(samples: Sequence[Sample], methods: Sequence[str], title: str, path: Path) -> None:
    """Draw one row per image: the reference, then each method's prediction."""
    figure, axes = plt.subplots(
        len(samples),
        1 + len(methods),
        figsize=(10.5, 3.7 * len(samples)),
        layout="constrained",
        squeeze=False,
    )
    for row, sample in zip(axes, samples, strict=True):
        grey, at = plane_of(sample.image, sample.reference)
        row[0].set_title(f"{sample.image.name}\n{sample.said}", fontsize=9)
        for axis in row:
            axis.imshow(grey, cmap="gray", origin="upper" if at is None else "lower")
            axis.set(xticks=[], yticks=[])
            _outline(axis, sample.reference if at is None else sample.reference[..., at], _REFERENCE, "--")
        for axis, method, colour, (label, dice) in zip(
            row[1:], methods, _METHODS, sample.predictions, strict=True
        ):
            _outline(axis, label if at is None else label[..., at], colour, "-")
            axis.set_title(f"{method}\nDice {dice:.3f}", fontsize=9)
    lines = [plt.Line2D([], [], color="#888888", ls="--"), *(plt.Line2D([], [], color=c) for c in _METHODS)]
    figure.legend(lines, ["reference (white)", *methods], loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plane_of(image: Path, reference: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Return an image as (H, W) in [0, 1]; of a volume, the slice with most of the reference."""
    if reference.ndim == 2:
        grey, at = read_image(image)[0].T, None
    else:
        at = int(np.argmax((reference > 0).sum(axis=(0, 1))))
        grey = read_volume(image)[0][0, ..., at].T
    low, high = np.percentile(grey, _WINDOW)
    return np.clip((grey - low) / max(high - low, 1e-6), 0, 1), at


def _outline(axis: Any, label: np.ndarray, colour: str, style: str) -> None:
    """Outline every structure of a label (W, H)."""
    for value in np.unique(label[label > 0]):
        lines = axis.contour(value == label.T, levels=[0.5], colors=colour, linestyles=style, linewidths=1.3)
        lines.set_path_effects([withStroke(linewidth=2.2, foreground="black")])
