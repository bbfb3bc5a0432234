"""The instant model of a pool in this process: its features at hand, and the labels that it learns from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cachetools import LRUCache

from bundle_configs import Bundle
from infers.instant.cache import FeatureCache
from infers.instant.features import Features, Reduction
from infers.instant.files import ROOT
from infers.instant.grids import label_grid
from infers.instant.model import FeatureMaker
from pool.imaging.errors import ImageError
from pool.imaging.labels import LabelError, read_label
from strategies.context import Context
from trainers.instant.labelled import Labelled

_VERSION = 1  # of the features, as `infers.instant.features` makes them
_MAX_BYTES = 2**29  # of labelled images kept in memory, and of those that a head is fitted on


@dataclass(frozen=True)
class LabelFile:
    """Files of a labelled image with their fingerprints, and its patient."""

    image: str
    image_path: str
    image_fingerprint: str
    label_path: str
    label_fingerprint: str
    group: str = ""


def feature_cache(context: Context) -> FeatureCache:
    """Return the cache of a pool's features; it loads no encoder."""
    key = f"{context.fixed_encoder_key}|{_VERSION}"
    return _cache(context.state.folder, key, context.settings.instant_gigabytes)


@lru_cache(maxsize=4)
def _cache(folder: Path, key: str, gigabytes: float) -> FeatureCache:
    return FeatureCache(folder / ROOT, key, int(gigabytes * 2**30))


def digest_of(labels: Mapping[str, str]) -> str:
    """Return a digest of the labels that count: {image: fingerprint}."""
    return hashlib.sha256(json.dumps(sorted(labels.items())).encode()).hexdigest()[:32]


class Lessons:
    """Labelled images as a head is fitted on them; the last ones are kept in memory.

    :param unreadable: why images were left out the last time, by image
    """

    def __init__(self, maker: FeatureMaker, cache: FeatureCache, bundle: Bundle) -> None:
        self.maker, self._cache = maker, cache
        self._labels: dict[str, int] = bundle.get("labels")
        self._kept: LRUCache[tuple[str, ...], Labelled] = LRUCache(_MAX_BYTES, getsizeof=bytes_of)
        self.unreadable: dict[str, str] = {}

    def of(self, files: Sequence[LabelFile], reduction: Reduction) -> dict[str, Labelled]:
        """Return what the files teach by image, at most `_MAX_BYTES`; an unreadable one is left out.

        Which ones are used where not all fit depends on the names of the images alone.
        """
        lessons, size = dict[str, Labelled](), 0
        self.unreadable = {}
        for file in sorted(files, key=lambda file: hashlib.sha256(file.image.encode()).digest()):
            try:
                lesson = self._lesson(file, reduction)
            except (ImageError, LabelError, ValueError) as error:
                self.unreadable[file.image] = str(error)
                continue
            size += bytes_of(lesson)
            if lessons and size > _MAX_BYTES:
                break
            lessons[file.image] = lesson
        return lessons

    def _lesson(self, file: LabelFile, reduction: Reduction) -> Labelled:
        key = (file.image, file.image_fingerprint, file.label_fingerprint, reduction.key)
        if (kept := self._kept.get(key)) is not None:
            return kept
        planes = self.maker.planes(file.image_path)
        features = self._features(file, reduction)
        if features is None:
            features = self.maker.features(planes, reduction)
            self._cache.add_fine(file.image, file.image_fingerprint, features)
        label = planes.of_label(read_label(file.label_path, self._labels, file.image_path))
        lesson = Labelled(features, label_grid(label, list(self._labels.values())), file.group)
        if bytes_of(lesson) <= _MAX_BYTES:
            self._kept[key] = lesson
        return lesson

    def _features(self, file: LabelFile, reduction: Reduction) -> Features | None:
        stored = self._cache.reduction()
        if stored is None or stored.key != reduction.key:
            return None
        return self._cache.fine(file.image, file.image_fingerprint)


_lessons: dict[tuple[Path, str, str], Lessons] = {}  # of this process


def lessons_of(context: Context, bundle: Bundle) -> Lessons:
    """Return the lessons of a pool in this process."""
    key = (context.state.folder, context.fixed_encoder_key, json.dumps(bundle.values, default=str))
    if key not in _lessons:
        settings = context.settings
        maker = FeatureMaker(settings.encoder, settings.encoder_weights or None, bundle)
        _lessons[key] = Lessons(maker, feature_cache(context), bundle)
    return _lessons[key]


def drop_encoders(context: Context) -> None:
    """Free the encoders that this process keeps between labels, while a training is on record."""
    if context.state.trainings.newest_open():
        for lessons in _lessons.values():
            lessons.maker.drop_encoder()


def shows_something(lesson: Labelled) -> bool:
    """Return True if a label has any structure."""
    return bool((lesson.shares[..., 1:] > 0).any())


def bytes_of(lesson: Labelled) -> int:
    """Return the size of a labelled image in memory."""
    return int(lesson.features.grids.nbytes + lesson.shares.nbytes)
