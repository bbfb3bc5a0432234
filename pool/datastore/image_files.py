"""Add and remove images of a studies folder, and keep notes on them."""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pool.datastore.folder import StudiesFolder
from pool.datastore.index import Change
from pool.datastore.label_files import LabelFiles
from pool.datastore.listing import file_info
from pool.errors import PoolError
from pool.files import cannot_write, move_into_place, new_copy, sync_folder
from pool.imaging.label_check import plain_info
from pool.imaging.names import split_name

logger = logging.getLogger(__name__)
_FORBIDDEN = '/\\:*?"<>|'  # in file names, on one system or another
_MAX_NAME = 200  # bytes of a file name: file systems take 255, and versions of labels add to it


class ImageFiles:
    """The images of a studies folder; removing one removes its labels."""

    def __init__(self, folder: StudiesFolder, labels: LabelFiles) -> None:
        self._folder, self._labels = folder, labels

    def add(self, image: str, file: Path, info: Mapping[str, Any]) -> str:
        """Copy an image into the pool; returns its id, from the file's name when none is given.

        Raises PoolError: 400 for a name that cannot be one, 409 when another image has it, 507.
        """
        name, info = split_name(file.name), plain_info(info)
        if name is None:
            raise PoolError(400, f"{file.name!r} is no image that this app reads")
        image, ext = image or name[0], name[1]
        _check_name(image, ext)
        self._folder.check_writable(f"image {image}")
        try:
            with self._folder.lock:
                if self._is_taken(image, file, ext):
                    raise PoolError(
                        409, f"the pool has another image {image!r}; choose another name, or remove that one"
                    )
                folder = Path(self._folder.images)
                move_into_place(new_copy(file, folder), folder / (image + ext))
                self._folder.make(Change(image=image, ext=ext, info={**info, **file_info(image + ext)}))
        except OSError as error:
            raise cannot_write(f"image {image}", error) from error
        self._folder.notify()
        return image

    def _is_taken(self, image: str, file: Path, ext: str) -> bool:
        """Tell whether the id belongs to anything but this very file."""
        folder = Path(self._folder.images)
        existing = [folder / (image + ext)]
        if obj := self._folder.index.model.objects.get(image):
            existing.append(folder / (image + obj.image.ext))
        return any(path.exists() and not filecmp.cmp(path, file, shallow=False) for path in existing)

    def remove(self, image: str) -> None:
        """Remove an image and its labels; final ones are kept as versions. Raises PoolError 404, 507."""
        self._folder.check_writable(f"image {image}")
        try:
            with self._folder.lock:
                obj = self._folder.index.image(image)
                for tag in obj.labels:
                    self._labels.take_away(image, tag)
                file = Path(self._folder.images, image + obj.image.ext)
                file.unlink(missing_ok=True)
                sync_folder(file.parent)
                self._folder.make(Change(image=image, gone=True))
        except OSError as error:
            raise cannot_write(f"image {image}", error) from error
        logger.info("Image %s removed", image)
        self._folder.notify()

    def add_info(self, image: str, info: Mapping[str, Any]) -> None:
        """Add to what is noted of an image. Raises PoolError 400, 404, 507.

        MONAI Label's note of who was handed the image last (`strategy`) stays in memory: it comes with each
        click, and the pool's ledger has it.
        """
        more = plain_info(info)
        with self._folder.lock:
            data = self._folder.index.image(image).image
            change = Change(image=image, ext=data.ext, info=data.info | more)
            if more.keys() == {"strategy"}:
                self._folder.index.apply([change])
            else:
                self._folder.note(change)


def _check_name(image: str, ext: str) -> None:
    """Raise PoolError 400 for an id that cannot be a file's name everywhere."""
    if image.startswith(".") or set(image) & set(_FORBIDDEN) or not image.isprintable() or not image.strip():
        raise PoolError(
            400, f"image {image[:80]!r}: a name has none of {_FORBIDDEN} and does not start with a dot"
        )
    if len((image + ext).encode()) > _MAX_NAME:
        raise PoolError(400, f"image {image[:80]!r}...: a name has {_MAX_NAME} bytes at most")
