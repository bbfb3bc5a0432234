"""List the folders of images and labels, and derive the changes; one listing, no look per file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pool.datastore.index import Change
from pool.datastore.model import ImageLabelModel
from pool.imaging.names import EXTENSIONS

logger = logging.getLogger(__name__)
_JUST_NOW = 2.0  # seconds: a folder's time is this coarse on some file systems
_MIN_SECONDS = 600.0  # seconds between listings, for file systems that do not keep a folder's time


def split_name(name: str) -> tuple[str, str] | None:
    """Split a file name into id and extension; None for a hidden file or no image."""
    ext = next((e for e in EXTENSIONS if name.lower().endswith(e)), "")
    if not ext or name.startswith("."):
        return None
    return name[: -len(ext)], name[-len(ext) :]


class Listing:
    """Lists folders, and knows which of them changed since."""

    def __init__(self) -> None:
        self._listed: dict[Path, tuple[int, float]] = {}  # folder: its time of change, when we listed it
        self._undecodable: set[str] = set()

    def is_old(self, folder: Path) -> bool:
        """Tell whether names may have come or gone since `names` listed them."""
        stamp, when = self._listed.get(folder, (-1, 0.0))
        return stamp != _changed_at(folder) or time.monotonic() - when > _MIN_SECONDS

    def names(self, folder: Path) -> set[str]:
        """Return the names of all files that are not hidden. Raises OSError."""
        stamp, when = _changed_at(folder), time.monotonic()
        with os.scandir(folder) as entries:
            names = {e.name for e in entries if not e.name.startswith(".") and e.is_file()}
        undecodable = {name for name in names if not name.isascii() and not _is_utf8(name)}
        for name in sorted(undecodable - self._undecodable):
            logger.warning("%s: the name %a is not UTF-8, so it is left out; rename it", folder, name)
        self._undecodable |= undecodable
        if abs(time.time() - stamp / 1e9) < _JUST_NOW:
            stamp = -1  # one more change in this moment would not show
        self._listed[folder] = stamp, when
        return names - undecodable


def _changed_at(folder: Path) -> int:
    """Return a folder's time of change in nanoseconds; 0 when there is no folder."""
    try:
        return os.stat(folder).st_mtime_ns
    except FileNotFoundError:
        return 0


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_id(names: Iterable[str]) -> dict[str, list[str]]:
    """Group file names by id, sorted."""
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        if parts := split_name(name):
            found.setdefault(parts[0], []).append(name)
    return found


def file_info(name: str) -> dict[str, int | str]:
    """Return what MONAI Label notes of a file that it finds."""
    return {"ts": int(time.time()), "name": name}


def image_changes(
    objects: Mapping[str, ImageLabelModel], names: set[str]
) -> tuple[list[Change], dict[str, list[str]]]:
    """Return the changes that make the index match the images' folder, and the ids that several files have.

    An image keeps its file as long as that exists; else the first by name is its file.
    """
    used = {image: image + obj.image.ext for image, obj in objects.items()}
    others = _by_id(names.difference(used.values()))
    changes: list[Change] = []
    clashing: dict[str, list[str]] = {}
    for image, name in used.items():
        if name in names:
            if image in others:
                clashing[image] = [name, *others.pop(image)]
        elif image not in others:
            changes.append(Change(image=image, gone=True))
    for image, files in others.items():
        if len(files) > 1:
            clashing[image] = files
        info = file_info(files[0])
        if image in objects:
            info = objects[image].image.info | info
            logger.warning("Image %s is now the file %s; its labels stay", image, files[0])
        changes.append(Change(image=image, ext=files[0][len(image) :], info=info))
    return changes, clashing


def label_changes(
    objects: Mapping[str, ImageLabelModel], tag: str, names: set[str]
) -> tuple[list[Change], list[str]]:
    """Return the changes that make one tag's labels match its folder, and the files of no image."""
    found = _by_id(names)
    changes: list[Change] = []
    for image, obj in objects.items():
        label = obj.labels.get(tag)
        files = found.pop(image, [])
        if label is not None and image + label.ext in names:
            continue
        if files:
            changes.append(Change(image=image, tag=tag, ext=files[0][len(image) :], info=file_info(files[0])))
        elif label is not None:
            changes.append(Change(image=image, tag=tag, gone=True))
    return changes, [name for files in found.values() for name in files]
