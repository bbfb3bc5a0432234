"""A labelled pool with its features, which are computed once and cached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.experiments.simulate import find_images
from infers.encoders import dense_encoder, make_encoder
from infers.encoders.dense import DenseEncoder
from infers.instant.cache import FeatureCache
from infers.instant.features import Features, Reduction, drawn, fit_reduction, plane_features
from infers.instant.grids import label_grid
from infers.instant.planes import Planes, read_planes
from pool.imaging.labels import read_label
from pool.imaging.names import image_fingerprint
from pool.imaging.volumes import volume_grid
from trainers.instant.labelled import Labelled


@dataclass(frozen=True)
class Case:
    """An image with its label.

    :ivar label: on the image's own grid
    """

    planes: Planes
    label: np.ndarray
    labelled: Labelled


@dataclass(frozen=True)
class LabelledPool:
    """All images of a data set.

    :ivar classes: values of the structures
    """

    cases: list[Case]
    classes: list[int]
    encoder: DenseEncoder
    reduction: Reduction


def read_pool(
    studies: Path,
    labels: Path,
    classes: list[int],
    name: str,
    weights: str | None,
    work: Path,
    limit: int | None = None,
) -> LabelledPool:
    """Read images, or the first `limit`, and their labels, and compute what is missing of the features.

    Raises ImageError, LabelError.
    """
    files = find_images(studies)[:limit]
    encoder = dense_encoder(make_encoder(name, weights))
    cache = FeatureCache(work / studies.resolve().parent.name, encoder.dense_key)
    if (reduction := cache.reduction()) is None:
        sample = (_read(Path(file)) for file in drawn([str(file) for file in files]))
        reduction = cache.keep_reduction(fit_reduction(encoder, sample))

    def features_of(planes: Planes, file: Path) -> Features:
        mark = image_fingerprint(file)
        if (cached := cache.fine(file.name, mark)) is not None:
            return cached
        features = plane_features(encoder, reduction, planes)
        cache.add_fine(file.name, mark, features)
        return features

    cases = [_case(file, labels, classes, features_of) for file in tqdm(files, unit="image")]
    return LabelledPool(cases, classes, encoder, reduction)


def _read(file: Path) -> Planes:
    return read_planes(file, 3 if volume_grid(file) else 2)


def _case(
    file: Path, labels: Path, classes: list[int], features_of: Callable[[Planes, Path], Features]
) -> Case:
    planes = _read(file)
    label = read_label(labels / file.name, {str(value): value for value in classes}, file)
    shares = label_grid(planes.of_label(label), classes)
    return Case(planes, label, Labelled(features_of(planes, file), shares))
