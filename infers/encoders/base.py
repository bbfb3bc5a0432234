"""What every image encoder is: grey images in, one vector per image out. It writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Encoder(Protocol):
    """An image encoder, as `make_encoder` returns it.

    Attributes:
        key: identifies the encoder together with its weights; embeddings are stored under it, so two
            encoders with one key give the same vectors.
        name: the name it was asked for with, for people.
        dim: length of one embedding.
    """

    key: str
    name: str
    dim: int

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Encode `images`, each (H, W) float32 with values in [0, 1] and of any size.

        Returns:
            (B, dim) float32, row i for image i. A row does not depend on the other images beyond
            floating-point noise.

        Raises:
            ValueError: an image that is not 2-D, is empty, or has values outside [0, 1] or not finite.
        """
        ...


def embed_in_batches(
    forward: Callable[[list[np.ndarray]], np.ndarray], images: Sequence[np.ndarray], dim: int, batch: int
) -> np.ndarray:
    """Run `forward` over `images`, at most `batch` at a time, and join the rows.

    Args:
        forward: takes a list of n float32 images (H, W), returns (n, dim).
        images: as in `Encoder.embed`.
        dim: length of one row; also the shape of the answer to no images, (0, dim).
        batch: the most images held as network input at once; it bounds memory.

    Returns:
        (B, dim) float32.

    Raises:
        ValueError: a bad image, or a row that is not finite (damaged weights).
    """
    rows = np.empty((len(images), dim), dtype=np.float32)
    for start in range(0, len(images), batch):
        chunk = [checked(image, start + i) for i, image in enumerate(images[start : start + batch])]
        rows[start : start + len(chunk)] = forward(chunk)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise ValueError(
            f"the encoder gave NaN or infinity for image {bad[0]}: its weights are damaged, fetch them again"
        )
    return rows


def checked(image: np.ndarray, index: int) -> np.ndarray:
    """`image` as float32 (H, W), or a ValueError that names its `index` and what is wrong with it."""
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
