"""Features of the instant head: dense features reduced by principal components, beside smoothed intensities.

A `Reduction` is fitted once on a sample of the pool and kept, since heads and cached grids belong to it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infers.encoders.dense import DenseEncoder, Pyramid
from infers.instant.grids import COARSE, FINE, coarser, resized
from infers.instant.planes import Planes, coarse_slices

COMPONENTS = 28
SCALES = (0.0, 1.0, 2.0, 4.0)  # smoothing of the intensities, in places of the fine grid
CHANNELS = COMPONENTS + len(SCALES)
SAMPLE = 64  # images that a reduction is fitted on
_PLACES = 256  # drawn of each plane of the sample
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


def fit_reduction(dense_key: str, pyramids: Sequence[Pyramid], seed: int = 42) -> Reduction:
    """Fit a reduction on the pyramids of a sample of the pool's planes; reproducible.

    Raises ValueError without any.
    """
    if not pyramids:
        raise ValueError("principal components need at least one image")
    levels = range(len(pyramids[0]))
    moments = [_moments([pyramid[level] for pyramid in pyramids]) for level in levels]
    rng = np.random.default_rng(seed)
    sample = np.concatenate([_places(pyramid, moments, rng) for pyramid in pyramids]).astype(np.float64)
    mean = sample.mean(axis=0)
    variances, vectors = np.linalg.eigh((sample - mean).T @ (sample - mean) / len(sample))
    order = np.argsort(variances)[::-1][:COMPONENTS]
    vectors = vectors[:, order] * np.sign(vectors[np.abs(vectors[:, order]).argmax(axis=0), order])
    vectors /= np.sqrt(max(variances[order[0]], 1e-12))
    parts = np.split(vectors, np.cumsum([len(centre) for centre, _ in moments])[:-1])
    weights = tuple(
        (part / scale[:, None]).astype(np.float32) for part, (_, scale) in zip(parts, moments, strict=True)
    )
    shift = sum((centre / scale) @ part for part, (centre, scale) in zip(parts, moments, strict=True))
    offset = (shift + mean @ vectors).astype(np.float32)
    digest = hashlib.sha256(b"".join(np.round(w, 4).tobytes() for w in weights)).hexdigest()[:12]
    return Reduction(f"{dense_key}|{_VERSION}:{COMPONENTS}:{digest}", weights, offset)


def _moments(grids: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and scale (C,) of one level's channels; the scale weights the level, too."""
    values = np.concatenate([grid.reshape(-1, grid.shape[-1]) for grid in grids]).astype(np.float64)
    return values.mean(axis=0), (values.std(axis=0) + 1e-6) * np.sqrt(values.shape[1])


def _places(
    pyramid: Pyramid, moments: Sequence[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> np.ndarray:
    """Draw places of one plane: (_PLACES, all channels), standardised."""
    chosen = rng.choice(FINE * FINE, _PLACES, replace=False)
    levels = [
        resized(((grid - centre) / scale)[None], (FINE, FINE)).reshape(FINE * FINE, -1)[chosen]
        for grid, (centre, scale) in zip(pyramid, moments, strict=True)
    ]
    return np.concatenate(levels, axis=1)


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
