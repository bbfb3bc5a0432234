"""Bring the index up to date with the files in a studies folder."""

from __future__ import annotations

import logging
from pathlib import Path

from pool.datastore.index import Change, DatastoreIndex
from pool.datastore.listing import Listing, image_changes, label_changes, split_name
from pool.left_notes import take_notes

logger = logging.getLogger(__name__)


class Scanner:
    """Finds files that came, went or changed their name, and warns once about odd ones.

    :ivar clashing_files: {id: [the file that is used, the others]} of ids that several files have
    """

    def __init__(self) -> None:
        self._listing = Listing()
        self._strays: dict[str, list[str]] = {}
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
                changes, clashing = image_changes(objects, self._listing.names(images))
                index.apply(changes)
                self._warn_about_clashes(clashing)
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
        if strays and self._strays.get(tag) != strays:
            logger.warning(
                "%d files in the labels %s belong to no image, the first: %s; a label is named as its image",
                len(strays),
                tag,
                strays[0],
            )
        self._strays[tag] = strays


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
