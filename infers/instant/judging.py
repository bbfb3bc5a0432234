"""Judgement of images by the head on the coarse grid: which structures are there, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from infers.instant.cache import CoarseBlock
from infers.instant.features import Features
from infers.instant.grids import smoothed
from infers.instant.head import Head, entropy, mean_entropies, top_scores

SHOWN = 0.5  # probability below which an image is taken not to show a structure
MIN_LABELS = 12  # from which that is trusted: breast ultrasound lost Dice before


@dataclass(frozen=True)
class Judgement:
    """The head's expectation of one image.

    :ivar shows: calibrated probability that the image shows each structure, by value; of a volume that of its
        likeliest slice
    :ivar anything: that it shows any, the highest of them
    :ivar entropy: mean over all places, nats
    :ivar foreground_entropy: mean over places whose foreground probability is at least 0.1; 0 without any
    """

    shows: dict[int, float]
    anything: float
    entropy: float
    foreground_entropy: float


def judge(head: Head, features: Features) -> Judgement:
    """Judge one image by its features, coarse or fine."""
    coarse = features.coarse()
    return next(_judgements(head, coarse, np.array([0, len(coarse.grids)])))


def segment(head: Head, features: Features) -> np.ndarray:
    """Predict smoothed probabilities, in the shape of `Head.predict`, without what the image hardly shows.

    A structure with a calibrated probability below `SHOWN` gives its probabilities to the background. With
    fewer than `MIN_LABELS` labels, or none with and none without the structure, all are kept.
    """
    probabilities = smoothed(head.predict(features))
    shows = judge(head, features).shows
    for k, value in enumerate(head.classes, start=1):
        has_both = 0 < head.shown[value] < head.labels and value in head.presence
        if has_both and head.labels >= MIN_LABELS and shows[value] < SHOWN:
            probabilities[..., 0] += probabilities[..., k]
            probabilities[..., k] = 0
    return probabilities


def judge_pool(head: Head, blocks: Iterable[CoarseBlock]) -> Iterator[tuple[str, Judgement]]:
    """Yield (image id, judgement) of all images in blocks of coarse features (`FeatureCache.coarse`)."""
    for block in blocks:
        yield from zip(block.images, _judgements(head, block.features, block.rows), strict=True)


def _judgements(head: Head, features: Features, rows: np.ndarray) -> Iterator[Judgement]:
    probabilities = head.predict(features)
    scores = top_scores(probabilities, head.classes)
    planes = {
        value: head.presence_of(value).probability(scores[value], features.positions)
        * (head.shown[value] > 0)
        for value in head.classes
    }
    nats = entropy(probabilities)
    for start, end in zip(rows[:-1], rows[1:], strict=True):
        shows = {value: float(p[start:end].max()) for value, p in planes.items()}
        mean, foreground = mean_entropies(probabilities[start:end], nats[start:end])
        yield Judgement(shows, max(shows.values()), mean, foreground)
