"""Interface of image encoders: grey images in, one vector per image out, no side effects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

BATCH = 16  # images that a staged encoder processes together


@runtime_checkable
class Encoder(Protocol):
    """An image encoder, as `make_encoder` returns it.

    Attributes:
        key: identifies the encoder and its weights; embeddings are stored under it, so two encoders with
            the same key must give the same vectors.
        name: the name in the configuration, for people.
        dim: length of one embedding.
    """

    key: str
    name: str
    dim: int

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Encode `images`, each (H, W) float32 with values in [0, 1] and of any size.

        Returns:
            (B, dim) float32, row i for image i. Up to floating-point noise, a row does not depend on
            the other images.

        Raises:
            ValueError: an image that is not 2-D, is empty, or has values not finite or outside [0, 1].
        """
        ...


class StagedEncoder(ABC):
    """An encoder that prepares images one by one, possibly in threads, and encodes them in batches."""

    key: str
    name: str
    dim: int

    @abstractmethod
    def prepare(self, image: np.ndarray) -> Any:
        """Prepare an image (H, W) float32 in [0, 1] for `forward`; the result is small for any size."""

    @abstractmethod
    def forward(self, prepared: Sequence[Any]) -> np.ndarray:
        """Encode at most `BATCH` prepared images, which bounds memory: (B, dim) float32."""

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Encode grey images (H, W) in [0, 1] to (B, dim) float32; see `Encoder.embed`."""
        rows = np.empty((len(images), self.dim), dtype=np.float32)
        for start in range(0, len(images), BATCH):
            chunk = enumerate(images[start : start + BATCH], start)
            prepared = [self.prepare(checked(image, index)) for index, image in chunk]
            rows[start : start + len(prepared)] = self.embed_prepared(prepared)
        return rows

    def embed_prepared(self, prepared: Sequence[Any]) -> np.ndarray:
        """Run `forward`. Raises ValueError for a row that is not finite (damaged weights)."""
        rows = self.forward(prepared)
        if not np.isfinite(rows).all():
            raise ValueError(
                f"encoder {self.name} gave NaN or infinity: its weights are damaged; download them again"
            )
        return rows


def checked(image: np.ndarray, index: int) -> np.ndarray:
    """Return `image` as float32 (H, W), or raise ValueError with its `index` and the reason."""
    array = np.asarray(image, dtype=np.float32)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"image {index} has shape {array.shape}: expected a grey image (H, W); pass one channel or slice"
        )
    low, high = float(array.min()), float(array.max())
    # the tolerance is for interpolation overshoot, not for another range
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(
            f"image {index} has values from {low:g} to {high:g}: expected finite values in [0, 1]; "
            "scale it first"
        )
    return np.clip(array, 0.0, 1.0)
