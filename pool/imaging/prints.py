"""Prints of images, for finding duplicates: a hash of all pixels, and a perceptual hash that copies share.

The perceptual hash is `imagehash.phash`: signs of the low frequencies of a cosine transform. Sizes and
threshold were chosen on real radiographs (`docs/why.md`, copies).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import imagehash
import numpy as np
from PIL import Image

from pool.protocol import Print

SIDE = 24  # frequencies per side: 576 bits for a picture
SHARE = 0.1  # fraction of the bits that may differ between copies
_BATCH_ORIGINALS, _BATCH_IMAGES = 8_192, 2_048  # prints compared at once: 64 MB


def print_of(array: np.ndarray) -> Print:
    """Compute the print of a picture (H, W) in [0, 1], or of a volume (C, W, H, D) in any unit.

    For a volume, the mean of the channels is hashed: the middle slice across each axis, windowed between the
    0.5 and 99.5 percentiles of the volume.
    """
    whole = np.ascontiguousarray(array)
    pixels = hashlib.sha256(f"{whole.shape} {whole.dtype}".encode() + whole.tobytes()).hexdigest()
    planes = [whole] if whole.ndim == 2 else _middle_slices(whole.mean(axis=0))
    bits = [imagehash.phash(_grey(plane), hash_size=SIDE).hash.ravel() for plane in planes]
    return Print(pixels, np.packbits(np.concatenate(bits)).tobytes())


def _middle_slices(volume: np.ndarray) -> list[np.ndarray]:
    low, high = np.percentile(volume, (0.5, 99.5))
    if high <= low:
        low, high = volume.min(), volume.max()
    unit = np.clip((volume - low) / max(high - low, 1e-12), 0, 1)
    return [unit.take(n // 2, axis) for axis, n in enumerate(unit.shape)]


def _grey(plane: np.ndarray) -> Image.Image:
    return Image.fromarray((plane * 255).round().astype(np.uint8))


class Originals:
    """Finds the images of a growing list that are copies of an earlier original.

    An original is not itself a copy, so copies of one image form a star, not a chain: each is within the
    threshold of the same original. Each new image is compared with all originals, by matrix products.
    """

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self._bits = _unpack(hashes)

    def find(self, hashes: Sequence[bytes]) -> list[tuple[int, int] | None]:
        """Return each new image's nearest original as (number, differing bits), or None for a new original.

        Originals are numbered in order of arrival; ties go to the earliest. New originals are remembered.
        Pass images in the ranges of `blocks`, which bound the memory.
        """
        new = _unpack(hashes)
        nearest, distance = self._nearest(new)
        among_new, numbers = _differing(new), np.full(len(new), -1)
        threshold, count = new.shape[1] * SHARE, len(self._bits)
        for row in range(len(new)):
            to_new_originals = np.where(numbers[:row] >= 0, among_new[row, :row], np.inf)
            if row and to_new_originals.min() < distance[row]:
                nearest[row], distance[row] = numbers[to_new_originals.argmin()], to_new_originals.min()
            if distance[row] > threshold:
                numbers[row], count = count, count + 1
        self._bits = np.concatenate([self._bits.reshape(-1, new.shape[1]), new[numbers >= 0]])
        return [
            (int(original), int(bits)) if number < 0 else None
            for original, bits, number in zip(nearest, distance, numbers, strict=True)
        ]

    def _nearest(self, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of each new image's nearest original, and the differing bits (inf if none)."""
        nearest, distance = np.zeros(len(new), int), np.full(len(new), np.inf)
        rows, floats = np.arange(len(new)), new.astype(np.float32)
        for start in range(0, len(self._bits), _BATCH_ORIGINALS):
            products = floats @ self._bits[start : start + _BATCH_ORIGINALS].astype(np.float32).T
            block_nearest = products.argmax(axis=1)
            block_distance = (new.shape[1] - products[rows, block_nearest]) / 2
            closer = block_distance < distance
            nearest[closer], distance[closer] = block_nearest[closer] + start, block_distance[closer]
        return nearest, distance


def blocks(count: int) -> list[range]:
    """Split `count` images into the ranges to pass to `Originals.find` one by one."""
    return [range(start, min(start + _BATCH_IMAGES, count)) for start in range(0, count, _BATCH_IMAGES)]


def _unpack(hashes: Sequence[bytes]) -> np.ndarray:
    """Unpack hashes to bits (N, n), as int8 -1 and 1."""
    if not hashes:
        return np.empty((0, 0), np.int8)
    packed = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(packed, axis=1).astype(np.int8) * 2 - 1


def _differing(bits: np.ndarray) -> np.ndarray:
    """Return the exact number of differing bits between each two of (N, n) rows."""
    floats = bits.astype(np.float32)
    return (bits.shape[1] - floats @ floats.T) / 2
