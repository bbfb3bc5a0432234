"""Images as arrays for the desk: the values of our own reader, in the arrangement of the screen."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pool.errors import PoolError
from pool.imaging.images import ImageError, read_image
from pool.imaging.pictures import has_eight_bits
from pool.imaging.volumes import read_volume
from pool.protocol import PoolStore
from server.desk.cache import ByteCache
from server.desk.views import View, view_of

_CACHE_BYTES = 2**30  # of the last images; one volume of the largest size
_TYPES = (np.dtype("uint8"), np.dtype("<u2"), np.dtype("<i2"))  # the smallest that holds all values is sent
_PERCENTILES = (0.5, 99.5)
_MAX_SAMPLED = 2**22  # values that the window is taken from


@dataclass(frozen=True)
class Voxels:
    """An image as the desk shows it.

    :param array: rows x columns, or slices x rows x columns; uint8, uint16, int16 or float32, little-endian
    :param window: the values that are shown as black and as white
    :param version: fingerprint of the image's file
    """

    array: np.ndarray
    view: View
    window: tuple[float, float]
    version: str


class VoxelReader:
    """Reads images one at a time, and keeps the last ones in memory; thread-safe."""

    def __init__(self, store: PoolStore) -> None:
        self._store, self._reading = store, threading.Lock()
        self._cache = ByteCache[Voxels](_CACHE_BYTES, lambda voxels: voxels.array.nbytes)

    def kept(self, image: str) -> Voxels | None:
        """Return an image's voxels if they are in memory. Raises PoolError 404, 422."""
        path_of(self._store, image)
        return self._cache.get((image, version_of(self._store, image)))

    def read(self, image: str) -> Voxels:
        """Return an image's voxels. Raises PoolError 404, 422."""
        path, key = path_of(self._store, image), (image, version_of(self._store, image))
        if kept := self._cache.get(key):
            return kept
        with self._reading:
            if kept := self._cache.get(key):  # another request has read it meanwhile
                return kept
            try:
                return self._cache.put(key, read_voxels(path, key[1]))
            except ImageError as error:
                raise PoolError(422, str(error)) from error


@lru_cache(maxsize=1)
def reader_of(store: Any) -> VoxelReader:
    """Return the reader of a server's pool (a PoolStore), whose memory all requests share."""
    return VoxelReader(store)


def path_of(store: PoolStore, image: str) -> str:
    """Return the path of an image of the pool. Raises PoolError 404, 422, 503."""
    if not store.has_image(image):
        raise PoolError(404, f"there is no image {image!r} in this pool")
    try:
        return store.get_image_uri(image)
    except ImageError as error:  # a series that cannot be used
        raise PoolError(422, str(error)) from error


def version_of(store: PoolStore, image: str) -> str:
    """Return the fingerprint of an image's file. Raises PoolError 404."""
    if image not in (prints := store.fingerprints([image])):
        raise PoolError(404, f"the file of image {image!r} is missing")
    return prints[image]


def slice_of(array: np.ndarray, number: int | None) -> np.ndarray:
    """Return one slice of a volume, or the whole array without a number. Raises PoolError 422."""
    if number is None:
        return array
    if array.ndim != 3 or not 0 <= number < len(array):
        count = f"{len(array)} slices, from 0" if array.ndim == 3 else "no slices"
        raise PoolError(422, f"slice {number}: the image has {count}")
    return np.asarray(array[number])


def read_voxels(path: str, version: str) -> Voxels:
    """Read an image, and keep nothing. Raises ImageError."""
    view = view_of(path)
    own = read_volume(path)[0][0] if len(view.shape) == 3 else read_image(path)[0]
    array = np.ascontiguousarray(view.shown(own), dtype=_smallest_type(own))
    window = (0.0, 255.0) if len(view.shape) == 2 and has_eight_bits(path) else _window(array)
    return Voxels(array, view, window, version)


def _smallest_type(array: np.ndarray) -> np.dtype:
    """Return the type that holds all values of an image unchanged."""
    low, high = float(array.min()), float(array.max())
    fitting = (t for t in _TYPES if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    smallest = next(fitting, None)
    if smallest is None or not all(np.array_equal(part, np.rint(part)) for part in array):
        return np.dtype("<f4")
    return smallest


def _window(array: np.ndarray) -> tuple[float, float]:
    sample = array.reshape(-1)[:: max(1, array.size // _MAX_SAMPLED)]
    low, high = (float(value) for value in np.percentile(sample, _PERCENTILES))
    return (low, high) if low < high else (float(array.min()), float(array.max()))
