"""Bring the index up to date with the files in a studies folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pool.datastore.index import Change, DatastoreIndex
from pool.datastore.listing import Listing, image_changes, label_changes, split_name
from pool.left_notes import take_notes

logger = logging.getLogger(__name__)


class Scanner:
    """Finds files that came, went or changed their name, and warns once about odd ones.

    :param recursive: find images in subfolders too

    :ivar strays: {tag: files in its folder that belong to no image}
    :ivar clashing_files: {id: [the file that is used, the others]} of ids that several files have
    """

    def __init__(self, recursive: bool = False) -> None:
        self._listing = Listing(recursive)
        self._told = list[str]()  # ignored names in the log
        self.strays: dict[str, list[str]] = {}
        self.clashing_files: dict[str, list[str]] = {}

    def scan(self, index: DatastoreIndex, everything: bool, take: bool = False) -> list[Change]:
        """Apply to the index, and return, what the folders show.

        A folder that cannot be listed is as it was.

        :param everything: list all folders, not only those whose time has changed
        :param take: take over the notes that children left on labels
        """
        changes: list[Change] = []
        images, objects = Path(index.model.image_path()), index.model.objects
        try:
            if everything or self._listing.is_old(images):
                changes, clashing = image_changes(objects, self._listing.images(images, own_folders(index)))
                index.apply(changes)
                self._warn_about_clashes(clashing)
                self._warn_about_ignored(images)
            everything = everything or any(not change.gone for change in changes)  # its label may wait
            for tag, folder in tag_folders(index).items():
                if everything or self._listing.is_old(folder):
                    names = self._listing.names(folder) if folder.is_dir() else set()
                    labels, strays = label_changes(objects, tag, names)
                    labels += _noted(index, tag, folder) if take else []
                    index.apply(labels)
                    self._warn_about_strays(tag, strays)
                    changes += labels
        except OSError as error:
            logger.error("%s cannot be listed (%s); its known images and labels stay", images, error)
        return changes

    @property
    def ignored(self) -> list[str]:
        """Names in the folder of images that are not read: files that are no images, and subfolders."""
        return self._listing.ignored

    def _warn_about_ignored(self, images: Path) -> None:
        if self.ignored and self.ignored != self._told:
            logger.warning("%s: %s", images, text_of_ignored(self.ignored))
        self._told = self.ignored

    def _warn_about_clashes(self, clashing: dict[str, list[str]]) -> None:
        for image, (used, *others) in clashing.items():
            if self.clashing_files.get(image) != [used, *others]:
                logger.warning(
                    "Image %s has more than one file: %s is used, %s not; rename or remove what is not meant",
                    image,
                    used,
                    ", ".join(others),
                )
        self.clashing_files = clashing

    def _warn_about_strays(self, tag: str, strays: list[str]) -> None:
        if strays and self.strays.get(tag) != strays:
            logger.warning(
                "%d files in the labels %s belong to no image, the first: %s; a label is named as its image",
                len(strays),
                tag,
                strays[0],
            )
        self.strays[tag] = strays


def own_folders(index: DatastoreIndex) -> set[str]:
    """Return the names of the datastore's own folders among the images."""
    return {Path(index.model.labels_dir).parts[0], "versions"}


def text_of_ignored(names: Sequence[str]) -> str:
    """Say what is not read in a folder of images, and what to do; "" for nothing."""
    folders = [name for name in names if name.endswith("/")]
    files = [name for name in names if not name.endswith("/")]
    texts = []
    if folders:
        texts.append(
            f"{_count(folders, 'subfolder is', 'subfolders are')} not read ({_some(folders)}): "
            "--conf recursive true reads them"
        )
    if files:
        texts.append(f"{_count(files, 'file is no image', 'files are no images')} ({_some(files)})")
    return "; ".join(texts)


def _count(names: Sequence[str], one: str, several: str) -> str:
    return f"{len(names)} {one if len(names) == 1 else several}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _noted(index: DatastoreIndex, tag: str, folder: Path) -> list[Change]:
    """Return what children noted of the labels in a folder."""
    changes = []
    for name, info in take_notes(folder):
        parts = split_name(name)
        if parts and parts[0] in index.model.objects:
            changes.append(Change(image=parts[0], tag=tag, ext=parts[1], info=info))
    return changes


def tag_folders(index: DatastoreIndex) -> dict[str, Path]:
    """Map tags to their label folders: those on disk, and those of known labels."""
    top = Path(index.model.label_path(None))
    on_disk = sorted(p.name for p in top.iterdir() if p.is_dir()) if top.is_dir() else []
    tags = [tag for tag in on_disk if not tag.startswith(".")] + list(index.tags)
    return {tag: top / tag for tag in dict.fromkeys(tags)}
