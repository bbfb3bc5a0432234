"""The images and labels of a studies folder, in memory, and the changes to them.

Changes are idempotent: each records the resulting state, so replay is safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastoreModel
from monailabel.interfaces.datastore import DefaultLabelTag
from pydantic import BaseModel, ConfigDict

from pool.errors import PoolError
from pool.imaging.label_check import unknown_image

FINAL = DefaultLabelTag.FINAL.value


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

    :ivar images: ids of all images, sorted; the same list until images come or go
    :ivar labelled: ids with a final label
    :ivar tags: number of labels of each tag
    """

    def __init__(self, model: LocalDatastoreModel) -> None:
        self.model = model
        self.images = sorted(model.objects)
        self.labelled = {i for i, obj in model.objects.items() if FINAL in obj.labels}
        self.tags = Counter(tag for obj in model.objects.values() for tag in obj.labels)

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
            if image is not None:
                (self.labelled.add if FINAL in (after or ()) else self.labelled.discard)(image)
        if moved:
            self.images = sorted(self.model.objects)

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
