"""`datastore_v2.json` as MONAI Label's LocalDatastore reads and writes it, without importing MONAI Label.

The fields are those of `monailabel.datastore.local`; a test compares them.
"""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel


class DataModel(BaseModel):
    """An image's or a label's file: its extension, and what is noted of it."""

    ext: str = ""
    info: dict[str, Any] = {}


class ImageLabelModel(BaseModel):
    """An image and its labels by tag."""

    image: DataModel
    labels: dict[str, DataModel] = {}


class LocalDatastoreModel(BaseModel):
    """A datastore: images by id, and the folders that their files are in.

    `base_path`, the studies folder, is not part of the file.
    """

    name: str
    description: str
    images_dir: str = ""
    labels_dir: str = "labels"
    objects: dict[str, ImageLabelModel] = {}
    base_path: str = ""

    def label(self, image: str, tag: str) -> DataModel | None:
        """Look up an image's label with a tag."""
        obj = self.objects.get(image)
        return obj.labels.get(tag) if obj else None

    def image_path(self) -> str:
        """Return the folder of the images."""
        return os.path.join(self.base_path, self.images_dir)

    def label_path(self, tag: str | None) -> str:
        """Return the folder of a tag's labels; for None, the one above them."""
        return os.path.join(self.base_path, self.labels_dir, *([tag] if tag else []))
