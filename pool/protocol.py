"""What the parts of a pool ask of each other: a datastore's answers, and the print of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


class PoolStore(Protocol):
    """What selection asks of a datastore, beside MONAI Label's own interface; no answer grows with the pool.

    `pool.datastore` (a folder) and `pool.dicomweb` (a server) are the two. Methods are safe from any thread.
    """

    def list_images(self) -> list[str]:
        """Ids of all images, sorted; the very same list until images come or go (do not change it)."""

    def get_labeled_images(self) -> list[str]:
        """Ids of images with a final label, sorted."""

    def has_image(self, image_id: str) -> bool:
        """Whether the pool holds this image now."""

    def is_labelled(self, image_id: str) -> bool:
        """Whether the image has a final label now."""

    def count_labelled(self) -> int:
        """Number of images with a final label."""

    def get_image_uri(self, image_id: str) -> str:
        """Path of the image's file, or of the cached series."""

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of a label's file, "" when there is none."""

    def take_over_changes(self) -> None:
        """Notice what came or went since the last call; cheap when nothing did. Called in the background."""


@runtime_checkable
class KnowsPatients(Protocol):
    """A datastore that knows whose images it holds, as a DICOM server does."""

    def patient_of(self, image_id: str) -> str | None:
        """The patient of an image; None when it names none."""


@dataclass(frozen=True)
class Print:
    """Of one image: `pool.imaging.prints` makes it, `pool.database.duplicates` keeps it.

    :param pixels: sha256 of the decoded values and their shape
    :param hash: packed bits, 576 of a picture, 3 * 576 of a volume
    """

    pixels: str
    hash: bytes
