"""The images and labels of a studies folder, in memory, and the changes to them.

Changes are idempotent: each records the resulting state, so replay is safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from pool.datastore.model import DataModel, ImageLabelModel, LocalDatastoreModel
from pool.errors import PoolError
from pool.imaging.label_check import unknown_image
from pool.label_states import CONFIRMED, UNEDITED, WAITING

FINAL, ORIGINAL = "final", "original"  # MONAI Label's tags


class Change(BaseModel):
    """One change: of an image, of a label when there is a tag, of the datastore when there is no image.

    `file` is the hidden file that a label is moved from, until it is in its place.
    """

    model_config = ConfigDict(extra="forbid")

    image: str | None = None
    tag: str | None = None
    gone: bool = False
    ext: str = ""
    info: dict[str, Any] = {}
    file: str | None = None
    name: str | None = None
    description: str | None = None


def apply(model: LocalDatastoreModel, change: Change) -> None:
    """Apply one change; objects that a reader may hold are replaced, never changed."""
    objects, image = model.objects, change.image
    if image is None:
        model.name = model.name if change.name is None else change.name
        model.description = model.description if change.description is None else change.description
    elif change.gone and change.tag is None:
        objects.pop(image, None)
    elif change.gone:
        if image in objects:
            objects[image].labels = {t: v for t, v in objects[image].labels.items() if t != change.tag}
    else:
        data = DataModel(ext=change.ext, info=change.info)
        if image not in objects:  # a label's image may have been in a damaged line; its file is found later
            objects[image] = ImageLabelModel(image=data if change.tag is None else DataModel())
        if change.tag is None:
            objects[image].image = data
        else:
            objects[image].labels = objects[image].labels | {change.tag: data}


class DatastoreIndex:
    """MONAI Label's model of a datastore, with what selection asks for often.

    No reader needs a lock: a change replaces what it changes.

    :param before: the index that this one replaces; its checks of the same labels stay
    :param trusts_files: True: every final label counts; False: one that was saved through this datastore,
        which gives it a version, or that was checked
    :param counts_unedited: labels that equal a prediction count, too
    :ivar images: ids of all images, sorted; the same list until images come or go
    :ivar labelled: ids with a final label that counts
    :ivar unchecked: ids with one that is not checked yet
    :ivar unedited: ids with one that equals a prediction or another label and is not confirmed
    :ivar refused: why a final label does not count, by id
    :ivar tags: number of labels of each tag
    """

    def __init__(
        self,
        model: LocalDatastoreModel,
        before: DatastoreIndex | None = None,
        trusts_files: bool = True,
        counts_unedited: bool = False,
    ) -> None:
        self.model, self._trusts_files, self._counts_unedited = model, trusts_files, counts_unedited
        self.images = sorted(model.objects)
        self.labelled, self.unchecked, self.refused = set[str](), set[str](), dict[str, str]()
        self.unedited = set[str]()
        self.tags = Counter(tag for obj in model.objects.values() for tag in obj.labels)
        for image, obj in model.objects.items():
            if (label := obj.labels.get(FINAL)) is None:
                continue
            known = before.model.objects.get(image) if before else None
            if (
                before
                and known
                and not _differs(known.labels.get(FINAL), label)
                and image not in before.unchecked
            ):
                state = UNEDITED if image in before.unedited else CONFIRMED
                self.settle(image, before.refused.get(image, ""), state)
            else:
                self._add(image, label)

    def apply(self, changes: Iterable[Change]) -> None:
        """Apply changes; callers must not run two at the same time."""
        moved = False
        for change in changes:
            image, objects = change.image, self.model.objects
            before = objects[image].labels if image in objects else None
            apply(self.model, change)
            after = objects[image].labels if image in objects else None
            moved = moved or (before is None) != (after is None)
            self.tags.subtract(list(before or ()))
            self.tags.update(list(after or ()))
            if image is not None and _differs((before or {}).get(FINAL), (after or {}).get(FINAL)):
                self._add(image, (after or {}).get(FINAL))
        if moved:
            self.images = sorted(self.model.objects)

    def _add(self, image: str, label: DataModel | None) -> None:
        """Take in a new final label, or that there is none."""
        if label is not None and (self._trusts_files or "version" in label.info):
            self.settle(image, "")
            return
        self.refused.pop(image, None)
        self.labelled.discard(image)
        self.unedited.discard(image)
        (self.unchecked.add if label else self.unchecked.discard)(image)

    def settle(self, image: str, reason: str, state: str = "") -> None:
        """Take in the check of a final label.

        :param reason: why it does not count; "" for a good one
        :param state: one of `pool.label_states`; by default that which it was saved with
        """
        label = self.model.label(image, FINAL)
        state = state or str(label.info.get("state", "") if label else "")
        waits = not reason and state in WAITING and not self._counts_unedited
        if reason:
            self.refused[image] = reason
        else:
            self.refused.pop(image, None)
        (self.labelled.discard if reason or waits else self.labelled.add)(image)
        (self.unedited.add if waits else self.unedited.discard)(image)
        self.unchecked.discard(image)

    def image(self, image: str) -> ImageLabelModel:
        """Look an image up. Raises PoolError 404."""
        if (obj := self.model.objects.get(image)) is None:
            raise unknown_image(image)
        return obj

    def label(self, image: str, tag: str) -> DataModel:
        """Look a label up. Raises PoolError 404."""
        if (label := self.image(image).labels.get(tag)) is None:
            raise PoolError(404, f"image {image!r} has no label with the tag {tag!r}")
        return label

    def status(self) -> dict[str, Any]:
        """Count images, final labels and labels per tag, as MONAI Label shows them."""
        tags = {tag: count for tag, count in self.tags.items() if count}
        return {"total": len(self.images), "completed": len(self.labelled), "label_tags": tags}


def _differs(before: DataModel | None, after: DataModel | None) -> bool:
    """Return whether a label came, went or was replaced; notes on it do not count."""
    if before is None or after is None:
        return before is not after
    keys = ("version", "ts", "name")
    return before.ext != after.ext or [before.info.get(k) for k in keys] != [after.info.get(k) for k in keys]
