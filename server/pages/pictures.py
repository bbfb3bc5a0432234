"""Pictures of images for the pages: thumbnails, larger pictures, and overlays of labels or predictions.

A volume is shown by one axial slice, by default the middle one, arranged as the desk shows it.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, cast

import numpy as np
from cachetools import LRUCache
from PIL import Image

from bundle_configs import Bundle
from pool.errors import PoolError
from pool.imaging.images import ImageError, image_fingerprint, unit_range
from pool.imaging.label_writer import color_of
from pool.imaging.labels import LabelError, read_label
from pool.imaging.volumes import volume_grid
from pool.protocol import PoolStore
from server.desk.cache import ByteCache
from server.desk.models import Model
from server.desk.views import view_of
from server.desk.voxels import Voxels, read_voxels, reader_of, slice_of

LARGEST = 768  # pixels of a picture's longer side
_CACHE_BYTES = 64 * 2**20  # pictures in memory
_LABEL_BYTES = 2**28  # labels and predictions of volumes in memory
_ALPHA, _EDGE = 90, 255  # opacity of a structure, and of its outline


class Pictures:
    """Makes PNG files, and caches the last ones in memory; thread-safe.

    :param bundle: gives the app's structures and their colours
    :param best: returns the model whose predictions are shown; None before the first
    """

    def __init__(self, store: PoolStore, bundle: Bundle, best: Callable[[], Model | None]) -> None:
        self._store, self._bundle, self._best = store, bundle, best
        self._cache: LRUCache[Any, bytes] = LRUCache(_CACHE_BYTES, getsizeof=len)
        self._labels = ByteCache[np.ndarray](_LABEL_BYTES, lambda label: label.nbytes)
        self._lock = threading.Lock()

    def slices(self, image: str) -> int:
        """Return the number of slices of a volume, 0 for a picture. Raises PoolError 404, 422."""
        try:
            shape = view_of(self._path(image)).shape
        except ImageError as error:
            raise PoolError(422, str(error)) from error
        return shape[0] if len(shape) == 3 else 0

    def picture(self, image: str, size: int, number: int | None = None) -> bytes:
        """Return a PNG of an image, its longer side at most `size` pixels. Raises PoolError 404, 422.

        :param number: of a volume's slice, from 0 at the feet; None for the middle
        """
        path = self._path(image)

        def make() -> bytes:
            if volume_grid(path) is None:
                _check_slice(number)
                return _grey_png(unit_range(path), size)
            reader = reader_of(cast(Hashable, self._store))
            if number is not None:  # others of the volume follow
                return _grey_png(_grey_slice(reader.read(image), number), size)
            voxels = reader.kept(image) or read_voxels(path, "")
            return _grey_png(_grey_slice(voxels, len(voxels.array) // 2), size)

        return self._cached(("picture", image, size, number), [path], make)

    def label(self, image: str, size: int, number: int | None = None) -> bytes:
        """Return a transparent PNG of the final label. Raises 404 without a label, 422 for a bad one."""
        path, label = self._path(image), self._label(image)
        names = self._bundle.get("labels")
        return self._cached(
            ("label", image, size, number),
            [path, label],
            lambda: self._draw(lambda: read_label(label, names, path), label, path, size, number),
        )

    def prediction(self, image: str, size: int, number: int | None = None) -> bytes:
        """Return a transparent PNG of the better model's prediction. Raises 404, 422; 409 without a model."""
        path, model = self._path(image), self._best()
        if model is None:
            raise PoolError(409, "there is no model yet: the first label brings one, within seconds")
        return self._cached(
            ("prediction", image, size, number, model.fingerprint),
            [path],
            lambda: self._draw(lambda: model.predict(path), model.fingerprint, path, size, number),
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

    def _shown(self, make: Callable[[], np.ndarray], source: str, path: str) -> np.ndarray:
        """Return a label as the screen shows it; those of volumes are kept for their other slices."""
        if volume_grid(path) is None:
            return make().T
        key = (source, _file_version(source) if Path(source).is_file() else "", path, _file_version(path))
        kept = self._labels.get(key)
        return self._labels.put(key, view_of(path).shown(make())) if kept is None else kept

    def _draw(
        self,
        make: Callable[[], np.ndarray],
        source: str,
        path: str,
        size: int,
        number: int | None,
    ) -> bytes:
        """Draw the structures in their colours, with outlines, as a PNG of the picture's size.

        :param make: reads or predicts the label
        :param source: the label's file, or the model's fingerprint
        """
        shown = self._shown(make, source, path)
        if shown.ndim == 2:
            _check_slice(number)
        plane = slice_of(shown, len(shown) // 2 if number is None else number) if shown.ndim == 3 else shown
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


def _grey_slice(voxels: Voxels, number: int) -> np.ndarray:
    """Return a slice of a volume as (H, W) in [0, 1]; its window is that of the whole volume."""
    low, high = voxels.window
    plane = slice_of(voxels.array, number)
    return np.clip((plane - low) / max(high - low, 1e-6), 0, 1)


def _check_slice(number: int | None) -> None:
    """Raise PoolError 422 for a slice of a picture, other than its first."""
    if number:
        raise PoolError(422, f"slice {number}: the image has no slices")


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
