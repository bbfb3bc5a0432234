"""Features of the instant head: dense features reduced by principal components, beside smoothed intensities.

A `Reduction` is fitted once on a sample of the pool and kept, since heads and cached grids belong to it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

from infers.encoders.dense import DenseEncoder, Pyramid
from infers.instant.grids import COARSE, FINE, coarser, resized
from infers.instant.planes import Planes, coarse_slices

COMPONENTS = 28
SCALES = (0.0, 1.0, 2.0, 4.0)  # smoothing of the intensities, in places of the fine grid
CHANNELS = COMPONENTS + len(SCALES)
SAMPLE = 64  # images that a reduction is fitted on
_PLACES = 200  # drawn in each plane of the sample
_VERSION = "instant:1"


@dataclass(frozen=True)
class Features:
    """Features of one image's planes.

    :ivar grids: (n, g, g, CHANNELS) float16; the first channels are intensities in about [-1, 1] at `SCALES`,
        the others components, the largest first
    :ivar positions: (n,) float32 of a volume's slices, from 0 at the feet to 1 at the head; empty for a 2-D
        image
    """

    grids: np.ndarray
    positions: np.ndarray

    def coarse(self) -> Features:
        """Return the features on the coarse grid, of at most `MAX_COARSE` slices."""
        if self.grids.shape[1] == COARSE:
            return self
        chosen = coarse_slices(len(self.grids))
        positions = self.positions[chosen] if len(self.positions) else self.positions
        return Features(coarser(self.grids[chosen]), positions)


@dataclass(frozen=True)
class Reduction:
    """Principal components of an encoder's dense features.

    The channels are standardised, the levels of the pyramid weighted alike. The components keep their
    relative size: the first has a standard deviation of 1, the rest less.

    :ivar key: identifies the encoder and the components
    :ivar weights: one matrix (C, components) float32 per level
    :ivar offset: (components,) float32, subtracted
    """

    key: str
    weights: tuple[np.ndarray, ...]
    offset: np.ndarray

    def apply(self, pyramid: Pyramid) -> np.ndarray:
        """Reduce a pyramid to (FINE, FINE, COMPONENTS) float32; fewer components are filled up with 0."""
        shape = (FINE, FINE)
        levels = (resized((grid @ w)[None], shape)[0] for grid, w in zip(pyramid, self.weights, strict=True))
        values = sum(levels) - self.offset
        return np.pad(values, ((0, 0), (0, 0), (0, COMPONENTS - values.shape[-1])))

    def to_bytes(self) -> bytes:
        """Serialise, some 100 KB, without pickle."""
        file = io.BytesIO()
        levels = {f"level_{i}": matrix for i, matrix in enumerate(self.weights)}
        np.savez_compressed(file, key=np.array(self.key), offset=self.offset, **levels)
        return file.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Reduction:
        """Read what `to_bytes` wrote. Raises ValueError or zipfile.BadZipFile for anything else."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            levels = tuple(file[f"level_{i}"] for i in range(len(file.files) - 2))
            return Reduction(str(file["key"]), levels, file["offset"])


def drawn(images: Sequence[str], seed: int = 42) -> list[str]:
    """Draw at most `SAMPLE` of the pool's ids, in any order, for `fit_reduction`; reproducible."""
    ids = sorted(images)
    return [ids[i] for i in np.random.default_rng(seed).permutation(len(ids))[:SAMPLE]]


def fit_reduction(encoder: DenseEncoder, images: Iterable[Planes], seed: int = 42) -> Reduction:
    """Fit a reduction on one plane of each of some images, read one by one; reproducible.

    Raises ValueError without images, and as the encoder does.
    """
    from sklearn.decomposition import PCA

    levels = [np.concatenate(level) for level in zip(*_samples(encoder, images, seed), strict=True)]
    if not levels:
        raise ValueError("principal components need at least one image")
    centres = [level.mean(axis=0) for level in levels]
    scales = [(level.std(axis=0) + 1e-6) * np.sqrt(level.shape[1]) for level in levels]
    parts = zip(levels, centres, scales, strict=True)
    table = np.concatenate([(level - centre) / scale for level, centre, scale in parts], axis=1)
    with np.errstate(invalid="ignore"):  # shares of a variance that is 0 when all images are flat
        pca = PCA(min(COMPONENTS, *table.shape), random_state=seed).fit(table)
    vectors = pca.components_.T / max(float(pca.singular_values_[0]) / len(table) ** 0.5, 1e-6)
    ends = np.cumsum([len(centre) for centre in centres])[:-1]
    weights = tuple(
        (part / scale[:, None]).astype(np.float32)
        for part, scale in zip(np.split(vectors, ends), scales, strict=True)
    )
    offset = np.concatenate(centres) @ np.concatenate(weights) + pca.mean_ @ vectors
    digest = hashlib.sha256(b"".join(np.round(w, 4).tobytes() for w in weights)).hexdigest()[:12]
    key = f"{encoder.dense_key}|{_VERSION}:{COMPONENTS}:{digest}"
    return Reduction(key, weights, offset.astype(np.float32))


def _samples(encoder: DenseEncoder, images: Iterable[Planes], seed: int) -> Iterator[list[np.ndarray]]:
    """Yield the features at drawn places of a drawn plane of each image: per level (_PLACES, C)."""
    random = np.random.default_rng(seed)
    for planes in images:
        (pyramid,) = encoder.dense([planes.images[random.integers(len(planes.images))]])
        where = random.uniform(-1, 1, (_PLACES, 2)).astype(np.float32)
        yield [_at_places(grid, where) for grid in pyramid]


def _at_places(grid: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Interpolate a grid (g, g, C) at places: (_PLACES, C)."""
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(grid, -1, 0)))[None]
    values = functional.grid_sample(
        planes, torch.from_numpy(where)[None, None], padding_mode="border", align_corners=False
    )
    return values[0, :, 0].T.numpy()


def plane_features(encoder: DenseEncoder, reduction: Reduction, planes: Planes) -> Features:
    """Compute the features of an image's planes on the fine grid. Raises ValueError as the encoder does."""
    rows = []
    for image in planes.images:
        (pyramid,) = encoder.dense([image])
        rows.append(np.concatenate([_intensities(image), reduction.apply(pyramid)], axis=-1))
    return Features(np.stack(rows).clip(-1e4, 1e4).astype(np.float16), planes.positions)


def _intensities(image: np.ndarray) -> np.ndarray:
    """Smooth an image (H, W), stretched between its 1st and 99th percentiles: (FINE, FINE, scales)."""
    from scipy.ndimage import gaussian_filter

    small = resized(image[None, :, :, None], (FINE, FINE))[0, :, :, 0]
    low, high = np.percentile(small, (1, 99))
    grey = np.clip((small - low) / max(high - low, 1e-3), -0.5, 1.5) * 2 - 1
    smoothed = [gaussian_filter(grey, sigma, mode="nearest") if sigma else grey for sigma in SCALES]
    return np.stack(smoothed, axis=-1)
