"""Groups of images, usually one per patient: from a table, a pattern on the id, or DICOM's PatientID."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pool.imaging.names import EXTENSIONS, image_id
from pool.protocol import KnowsPatients, PoolStore

logger = logging.getLogger(__name__)
GROUP = "group:"  # begins the name of a group among those of images without one
_EXAMPLE = (
    "a CSV file with the columns image,group, or a regular expression with one group as in ^(patient\\d+)_"
)


@dataclass(frozen=True)
class Groups:
    """Assigns a group to each image. Without names or a pattern, the store is asked, if it knows patients.

    :param names: {image: group}
    """

    names: dict[str, str] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None

    def rows(self, images: Sequence[str], store: PoolStore | None = None) -> list[str] | None:
        """Return the group of each image, or None when nothing is grouped.

        An image without a group forms a group of its own.
        """
        if not (self.names or self.pattern or isinstance(store, KnowsPatients)):
            return None  # runs on every click: do not look at each image
        groups = [self.group_of(image, store) for image in images]
        if not any(groups):
            return None
        return [f"{GROUP}{g}" if g else f"image:{i}" for i, g in zip(images, groups, strict=True)]

    def group_of(self, image: str, store: PoolStore | None) -> str | None:
        """Return the group of an image, or None when it has none."""
        if self.names:
            return self.names.get(image)
        if self.pattern:
            match = self.pattern.search(image)
            return match and match[1]
        return store.patient_of(image) if isinstance(store, KnowsPatients) else None

    def check(self, images: Sequence[str]) -> None:
        """Warn about names that are not in the pool and images that are in no group."""
        if unknown := sorted(self.names.keys() - set(images)):
            logger.warning(
                "groups: %d of %d images are not in the pool (%s)",
                len(unknown),
                len(self.names),
                ", ".join(unknown[:5]),
            )
        if not self.names and not self.pattern:
            return
        alone = [i for i in images if not (self.names.get(i) or (self.pattern and self.pattern.search(i)))]
        if alone:
            logger.warning(
                "groups: %d of the pool's %d images have no group; each counts as its own group (%s)",
                len(alone),
                len(images),
                ", ".join(alone[:5]),
            )


def read_groups(text: str) -> Groups:
    """Parse the setting `groups`: "" for none, an existing file, or a pattern. Raises ValueError."""
    if not text:
        return Groups()
    if Path(text).expanduser().is_file():
        return Groups(names=_read_table(Path(text).expanduser()))
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"is neither a file nor a regular expression ({error}); give {_EXAMPLE}") from None
    if pattern.groups != 1:
        raise ValueError(
            f"is not a file, and as a regular expression it has {pattern.groups} groups instead of one; "
            f"give {_EXAMPLE}"
        )
    return Groups(pattern=pattern)


def _read_table(file: Path) -> dict[str, str]:
    """Read {image: group} from a CSV file; file names count as ids. Raises ValueError naming the line."""
    groups: dict[str, str] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream)
            if not {"image", "group"} <= set(table.fieldnames or ()):
                raise ValueError(f"its first line is {','.join(table.fieldnames or ())!r}: write image,group")
            for row in table:
                image, group = (row["image"] or "").strip(), (row["group"] or "").strip()
                image = image_id(image) if image.lower().endswith(EXTENSIONS) else image
                if not image:
                    raise ValueError(f"line {table.line_num} names no image")
                if groups.setdefault(image, group) != group:
                    raise ValueError(
                        f"line {table.line_num} puts {image} into {group!r}, but an earlier line into "
                        f"{groups[image]!r}; give each image one group"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot be read ({error}); save it as CSV in UTF-8") from error
    if not any(groups.values()):
        raise ValueError("has no row with a group; write one per image below the line image,group")
    return groups
