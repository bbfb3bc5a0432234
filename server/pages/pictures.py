"""Pictures of images for the pages: thumbnails, larger pictures, and overlays of labels or predictions.

A volume is shown by its middle axial slice, seen from the feet: the patient's right is on the left.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from cachetools import LRUCache
from PIL import Image

from bundle_configs import Bundle
from pool.errors import PoolError
from pool.imaging.images import ImageError, image_fingerprint, unit_range
from pool.imaging.label_writer import color_of
from pool.imaging.labels import LabelError, read_label
from pool.imaging.volumes import read_volume, volume_grid
from pool.protocol import PoolStore
from server.desk.models import Model

LARGEST = 768  # pixels of a picture's longer side
_CACHE_BYTES = 64 * 2**20  # pictures in memory
_ALPHA, _EDGE = 90, 255  # opacity of a structure, and of its outline


class Pictures:
    """Makes PNG files, and caches the last ones in memory; thread-safe.

    :param bundle: gives the app's structures and their colours
    :param best: returns the model whose predictions are shown; None before the first
    """

    def __init__(self, store: PoolStore, bundle: Bundle, best: Callable[[], Model | None]) -> None:
        self._store, self._bundle, self._best = store, bundle, best
        self._cache: LRUCache[Any, bytes] = LRUCache(_CACHE_BYTES, getsizeof=len)
        self._lock = threading.Lock()

    def picture(self, image: str, size: int) -> bytes:
        """Return a PNG of an image, its longer side at most `size` pixels. Raises PoolError 404, 422."""
        path = self._path(image)
        return self._cached(("picture", image, size), [path], lambda: _grey_png(_grey_plane(path), size))

    def label(self, image: str, size: int) -> bytes:
        """Return a transparent PNG of the final label. Raises 404 without a label, 422 for a bad one."""
        path, label = self._path(image), self._label(image)
        names = self._bundle.get("labels")
        return self._cached(
            ("label", image, size),
            [path, label],
            lambda: self._draw(read_label(label, names, path), path, size),
        )

    def prediction(self, image: str, size: int) -> bytes:
        """Return a transparent PNG of the better model's prediction. Raises 404, 422; 409 without a model."""
        path, model = self._path(image), self._best()
        if model is None:
            raise PoolError(409, "there is no model yet: the first label brings one, within seconds")
        return self._cached(
            ("prediction", image, size, model.fingerprint),
            [path],
            lambda: self._draw(model.predict(path), path, size),
        )

    def _path(self, image: str) -> str:
        if not self._store.has_image(image):
            raise PoolError(404, f"there is no image {image!r} in this pool")
        return self._store.get_image_uri(image)

    def _label(self, image: str) -> str:
        if not self._store.is_labelled(image) and image not in self._store.unedited_labels:
            raise PoolError(404, f"image {image!r} has no final label")
        try:
            return self._store.get_label_uri(image, "final")
        except LabelError as error:  # a SEG that cannot be used
            raise PoolError(422, str(error)) from error

    def _cached(self, what: tuple[Any, ...], files: list[str], make: Callable[[], bytes]) -> bytes:
        """Return the PNG from the cache, if the files have not changed since, or make it."""
        try:
            key = (*what, *map(_file_version, files))
            with self._lock:
                if key in self._cache:
                    return self._cache[key]
            picture = make()
        except (ImageError, LabelError) as error:
            raise PoolError(422, str(error)) from error
        except FileNotFoundError as error:
            raise PoolError(404, f"the file is missing: {error.filename}") from error
        with self._lock:
            self._cache[key] = picture
        return picture

    def _draw(self, label: np.ndarray, path: str, size: int) -> bytes:
        """Draw the structures in their colours, with outlines, as a PNG of the picture's size."""
        plane = _middle_slice(label, volume_grid(path)[1]) if label.ndim == 3 else label.T  # type: ignore[index]
        grey = Image.fromarray(plane.astype(np.uint8))
        plane = np.asarray(grey.resize(_fit_size(grey.size, size), Image.Resampling.NEAREST))
        names, colors = self._bundle.get("labels"), self._bundle.get("colors")
        out = np.zeros((*plane.shape, 4), dtype=np.uint8)
        for i, (name, value) in enumerate(names.items()):
            mask = plane == value
            out[mask] = (*color_of(name, i, colors), _ALPHA)
            out[mask & ~_inside(mask), 3] = _EDGE
        return _encode_png(Image.fromarray(out, "RGBA"))


def _file_version(path: str) -> str:
    return "series" if Path(path).is_dir() else image_fingerprint(path)


def _grey_plane(path: str) -> np.ndarray:
    """Read an image, or the middle slice of a volume, as (H, W) in [0, 1]. Raises ImageError."""
    if (grid := volume_grid(path)) is None:
        return unit_range(path)
    plane = _middle_slice(read_volume(path)[0][0], grid[1])
    low, high = np.percentile(plane, (0.5, 99.5))
    return np.clip((plane - low) / max(high - low, 1e-6), 0, 1)


def _middle_slice(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the middle axial slice (rows, columns) of (W, H, D): rows to the back, columns to the left."""
    orientation = nibabel.orientations.io_orientation(affine)
    target = nibabel.orientations.axcodes2ornt("LPS")
    oriented = nibabel.orientations.apply_orientation(
        volume, nibabel.orientations.ornt_transform(orientation, target)
    )
    return oriented[:, :, oriented.shape[2] // 2].T


def _fit_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Scale width and height so that the longer one is at most `longest`."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _grey_png(plane: np.ndarray, size: int) -> bytes:
    grey = Image.fromarray(np.rint(plane * 255).astype(np.uint8))
    return _encode_png(grey.resize(_fit_size(grey.size, size), Image.Resampling.BOX, reducing_gap=2.0))


def _inside(mask: np.ndarray) -> np.ndarray:
    """Return the pixels whose four neighbours are all in the mask."""
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _encode_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=3)
    return file.getvalue()
