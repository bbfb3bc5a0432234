"""Prints of images, by which copies are recognised: of all pixels, and of what a copy keeps.

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

SIDE = 24  # frequencies on each side: 576 bits of a picture
SHARE = 0.1  # of the bits that may differ between copies
_OLD, _NEW = 8_192, 2_048  # prints compared at once: 64 MB


def print_of(array: np.ndarray) -> Print:
    """The print of a picture (H, W) in [0, 1], or of a volume (C, W, H, D) in any unit.

    Of a volume, its channels' mean is hashed: the middle slice across each axis, windowed between the 0.5 and
    99.5 percentiles of the volume.
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
    """Tells which images of a growing list are copies of an earlier one that is itself no copy.

    So copies of one image form a star, not a chain: each is within the threshold of the same original. Each
    new image is compared with all originals, by matrix products.
    """

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self._bits = _unpack(hashes)

    def find(self, hashes: Sequence[bytes]) -> list[tuple[int, int] | None]:
        """For each new image its nearest original, (number, bits that differ), or None: it is one itself.

        Originals are numbered in the order in which they came; ties go to the earliest. New originals are
        remembered. At most `_NEW` images at once bound the memory.
        """
        new = _unpack(hashes)
        at, least = self._nearest(new)
        own, numbers = _differing(new), np.full(len(new), -1)
        most, count = new.shape[1] * SHARE, len(self._bits)
        for row in range(len(new)):
            near = np.where(numbers[:row] >= 0, own[row, :row], np.inf)
            if row and near.min() < least[row]:
                at[row], least[row] = numbers[near.argmin()], near.min()
            if least[row] > most:
                numbers[row], count = count, count + 1
        self._bits = np.concatenate([self._bits.reshape(-1, new.shape[1]), new[numbers >= 0]])
        return [(int(a), int(d)) if n < 0 else None for a, d, n in zip(at, least, numbers, strict=True)]

    def _nearest(self, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the nearest original of each new image, and the bits that differ (infinite: none)."""
        at, least = np.zeros(len(new), int), np.full(len(new), np.inf)
        rows, floats = np.arange(len(new)), new.astype(np.float32)
        for start in range(0, len(self._bits), _OLD):
            products = floats @ self._bits[start : start + _OLD].astype(np.float32).T
            nearest = products.argmax(axis=1)
            differing = (new.shape[1] - products[rows, nearest]) / 2
            closer = differing < least
            at[closer], least[closer] = nearest[closer] + start, differing[closer]
        return at, least


def blocks(count: int) -> list[range]:
    """How many images `Originals.find` is given at once."""
    return [range(at, min(at + _NEW, count)) for at in range(0, count, _NEW)]


def _unpack(hashes: Sequence[bytes]) -> np.ndarray:
    """Bits (N, n) as int8 -1 and 1."""
    if not hashes:
        return np.empty((0, 0), np.int8)
    packed = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1)
    return np.unpackbits(packed, axis=1).astype(np.int8) * 2 - 1


def _differing(bits: np.ndarray) -> np.ndarray:
    """How many differ between each two of (N, n) rows, exactly."""
    floats = bits.astype(np.float32)
    return (bits.shape[1] - floats @ floats.T) / 2
