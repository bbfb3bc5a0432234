"""Pictures of images for the pages: thumbnails, larger ones, and labels or predictions to lay over them.

Of a volume the middle axial slice is shown, seen from the feet: the patient's right is on the left.
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
from infers.segmentation.task import Predictor, model_fingerprint
from pool.errors import PoolError
from pool.imaging.images import ImageError, image_fingerprint, unit_range
from pool.imaging.label_writer import color_of
from pool.imaging.labels import LabelError, read_label
from pool.imaging.volumes import read_volume, volume_grid
from pool.protocol import PoolStore

LARGEST = 768  # pixels of a picture's longer side
_KEPT = 64 * 2**20  # bytes of pictures in memory
_ALPHA, _EDGE = 90, 255  # opacity of a structure, and of its outline


class Pictures:
    """Makes PNG files and keeps the last ones in memory; safe from any thread.

    :param bundle: says what the app's structures are, and their colours
    :param model: the published model
    """

    def __init__(self, store: PoolStore, bundle: Bundle, model: Path) -> None:
        self._store, self._bundle, self._model = store, bundle, model
        self._kept: LRUCache[Any, bytes] = LRUCache(_KEPT, getsizeof=len)
        self._lock, self._one_at_a_time = threading.Lock(), threading.Lock()
        self._predictor: tuple[str, Predictor] | None = None

    def picture(self, image: str, size: int) -> bytes:
        """PNG of an image, its longer side at most `size` pixels. Raises PoolError 404, 422."""
        path = self._path(image)
        return self._made(("picture", image, size), [path], lambda: _png(_plane(path), size))

    def label(self, image: str, size: int) -> bytes:
        """Transparent PNG of the final label. Raises PoolError 404 without one, 422 for a bad one."""
        path, label = self._path(image), self._label(image)
        names = self._bundle.get("labels")
        return self._made(
            ("label", image, size),
            [path, label],
            lambda: self._drawn(read_label(label, names, path), path, size),
        )

    def prediction(self, image: str, size: int) -> bytes:
        """Transparent PNG of what the newest model says. Raises PoolError 404, 422; 409 without one."""
        path, model = self._path(image), model_fingerprint(self._model)
        if model is None:
            raise PoolError(409, "there is no trained model yet: label some images, then start a training")
        return self._made(
            ("prediction", image, size, model),
            [path],
            lambda: self._drawn(self._predicted(path, model), path, size),
        )

    def _path(self, image: str) -> str:
        if not self._store.has_image(image):
            raise PoolError(404, f"there is no image {image!r} in this pool")
        return self._store.get_image_uri(image)

    def _label(self, image: str) -> str:
        if not self._store.is_labelled(image):
            raise PoolError(404, f"image {image!r} has no final label")
        try:
            return self._store.get_label_uri(image, "final")
        except LabelError as error:  # of a SEG that cannot be used
            raise PoolError(422, str(error)) from error

    def _made(self, what: tuple[Any, ...], files: list[str], make: Callable[[], bytes]) -> bytes:
        """What is kept of these files as they are now, or made."""
        try:
            key = (*what, *map(_mark, files))
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            made = make()
        except (ImageError, LabelError) as error:
            raise PoolError(422, str(error)) from error
        except FileNotFoundError as error:
            raise PoolError(404, f"the file has gone: {error.filename}") from error
        with self._lock:
            self._kept[key] = made
        return made

    def _predicted(self, path: str, model: str) -> np.ndarray:
        """One prediction at a time: a second one would only make both slow."""
        with self._one_at_a_time:
            if self._predictor is None or self._predictor[0] != model:
                self._predictor = model, Predictor(self._model)
            return self._predictor[1].label(path)[0]

    def _drawn(self, label: np.ndarray, path: str, size: int) -> bytes:
        """Structures in their colours, with outlines, as a PNG of the picture's size."""
        plane = _middle(label, volume_grid(path)[1]) if label.ndim == 3 else label.T  # type: ignore[index]
        grey = Image.fromarray(plane.astype(np.uint8))
        plane = np.asarray(grey.resize(_fitted(grey.size, size), Image.Resampling.NEAREST))
        names, colors = self._bundle.get("labels"), self._bundle.get("colors")
        out = np.zeros((*plane.shape, 4), dtype=np.uint8)
        for i, (name, value) in enumerate(names.items()):
            mask = plane == value
            out[mask] = (*color_of(name, i, colors), _ALPHA)
            out[mask & ~_inside(mask), 3] = _EDGE
        return _encoded(Image.fromarray(out, "RGBA"))


def _mark(path: str) -> str:
    return "series" if Path(path).is_dir() else image_fingerprint(path)


def _plane(path: str) -> np.ndarray:
    """The picture (H, W) in [0, 1] of an image or of a volume's middle. Raises ImageError."""
    if (grid := volume_grid(path)) is None:
        return unit_range(path)
    plane = _middle(read_volume(path)[0][0], grid[1])
    low, high = np.percentile(plane, (0.5, 99.5))
    return np.clip((plane - low) / max(high - low, 1e-6), 0, 1)


def _middle(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The middle axial slice (rows, columns) of (W, H, D), rows to the back, columns to the left."""
    here = nibabel.orientations.io_orientation(affine)
    wanted = nibabel.orientations.axcodes2ornt("LPS")
    turned = nibabel.orientations.apply_orientation(volume, nibabel.orientations.ornt_transform(here, wanted))
    return turned[:, :, turned.shape[2] // 2].T


def _fitted(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height with the longer one at most `longest`."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _png(plane: np.ndarray, size: int) -> bytes:
    grey = Image.fromarray(np.rint(plane * 255).astype(np.uint8))
    return _encoded(grey.resize(_fitted(grey.size, size), Image.Resampling.BOX, reducing_gap=2.0))


def _inside(mask: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours are in the mask too."""
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def _encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=3)
    return file.getvalue()
