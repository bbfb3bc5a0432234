"""List the folders of images and labels, and derive the changes; one listing, no look per file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pool.datastore.index import Change
from pool.datastore.model import ImageLabelModel
from pool.imaging.names import image_fingerprint, is_dicom, split_name

logger = logging.getLogger(__name__)
_JUST_NOW = 2.0  # seconds: a folder's time is this coarse on some file systems
_OWN_FILES = ("datastore_v2.",)  # MONAI Label's list and our journal
_MIN_SECONDS = 600.0  # seconds between listings, for file systems that do not keep a folder's time


class Listing:
    """Lists folders, and knows which of them changed since.

    :param recursive: list the folders below too; names are then relative, with slashes
    :ivar ignored: names in the folder of images that are not read: files that are no images, subfolders
    """

    def __init__(self, recursive: bool = False) -> None:
        self._recursive = recursive
        self._listed: dict[Path, tuple[dict[str, int], float]] = {}  # folders' times of change, when listed
        self._undecodable: set[str] = set()
        self._dicom: dict[str, tuple[str, bool]] = {}  # files without extension: fingerprint, and if DICOM
        self.ignored: list[str] = []

    def is_old(self, folder: Path) -> bool:
        """Tell whether names may have come or gone since `names` listed them."""
        stamps, when = self._listed.get(folder, ({str(folder): -1}, 0.0))
        changed = any(stamp != _changed_at(Path(path)) for path, stamp in stamps.items())
        return changed or time.monotonic() - when > _MIN_SECONDS

    def images(self, folder: Path, own: Collection[str]) -> set[str]:
        """Return the names of all image files. Raises OSError.

        :param own: names of the folders in it that are the datastore's own
        """
        names, folders = self._list(folder, own)
        images = {name for name in names if split_name(name) or self._has_mark(folder, name)}
        unread = [] if self._recursive else [f"{name}/" for name in folders if name not in own]
        others = (name for name in names - images if not name.startswith(_OWN_FILES))
        self.ignored = sorted([*others, *unread])
        return images

    def names(self, folder: Path) -> set[str]:
        """Return the names of all files that are not hidden. Raises OSError."""
        return self._list(folder, ())[0]

    def _list(self, folder: Path, own: Collection[str]) -> tuple[set[str], set[str]]:
        """Return the names of files and of folders that are not hidden."""
        when, names, folders = time.monotonic(), set[str](), set[str]()
        stamps, waiting = dict[str, int](), [""]
        while waiting:
            place = waiting.pop()
            stamp = _changed_at(folder / place)
            recent = abs(time.time() - stamp / 1e9) < _JUST_NOW  # one more change now would not show
            stamps[str(folder / place)] = -1 if recent else stamp
            with os.scandir(folder / place) as entries:
                for entry in entries:
                    name = f"{place}/{entry.name}" if place else entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_file():
                        names.add(name)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.add(name)
                        waiting += [name] if self._recursive and name not in own else []
        undecodable = {name for name in names if not name.isascii() and not _is_utf8(name)}
        for name in sorted(undecodable - self._undecodable):
            logger.warning("%s: the name %a is not UTF-8, so it is left out; rename it", folder, name)
        self._undecodable |= undecodable
        self._listed[folder] = stamps, when
        return names - undecodable, folders

    def _has_mark(self, folder: Path, name: str) -> bool:
        """Return whether a file without one of our extensions is DICOM; it is opened once."""
        try:
            fingerprint = image_fingerprint(folder / name)
        except FileNotFoundError:
            return False
        if self._dicom.get(name, ("", False))[0] != fingerprint:
            self._dicom[name] = fingerprint, is_dicom(folder / name)
        return self._dicom[name][1]


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


def _by_id(names: Iterable[str], with_bare: bool = False) -> dict[str, list[str]]:
    """Group file names by id, sorted.

    :param with_bare: names without one of our extensions are ids themselves, as of DICOM files
    """
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        if parts := split_name(name) or ((name, "") if with_bare else None):
            found.setdefault(parts[0], []).append(name)
    return found


def file_info(name: str) -> dict[str, int | str]:
    """Return what MONAI Label notes of a file that it finds."""
    return {"ts": int(time.time()), "name": Path(name).name}


def image_changes(
    objects: Mapping[str, ImageLabelModel], names: set[str]
) -> tuple[list[Change], dict[str, list[str]]]:
    """Return the changes that make the index match the images' folder, and the ids that several files have.

    An image keeps its file as long as that exists; else the first by name is its file.
    """
    used = {image: image + obj.image.ext for image, obj in objects.items()}
    others = _by_id(names.difference(used.values()), with_bare=True)
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
