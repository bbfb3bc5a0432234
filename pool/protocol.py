"""Interfaces shared by the parts of a pool: the datastore protocol and the print of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset


class LabelCheck(NamedTuple):
    """The check of one image's final label.

    :param fingerprint: fingerprint of the label's file and its image's
    :param reason: why the label does not count; "" for a good one
    :param state: one of `pool.label_states`, for a label that this server saved or somebody confirmed
    """

    number: int
    image: str
    fingerprint: str
    reason: str
    state: str = ""


class Finding(NamedTuple):
    """The outcome of reading a final label: why it does not count, "" for a good one, and its digest."""

    reason: str
    digest: str = ""


class RefusedLabel(NamedTuple):
    """A label file that does not count, and why."""

    file: str
    reason: str


class PoolStore(Protocol):
    """The part of a datastore that selection needs, beyond MONAI Label's own interface.

    Implemented by `pool.datastore` (a folder) and `pool.dicomweb` (a DICOMweb server). No answer grows
    with the pool; methods are thread-safe.
    """

    def list_images(self) -> list[str]:
        """Return the sorted ids of all images: the same list until images come or go (do not modify it)."""

    def get_labeled_images(self) -> list[str]:
        """Return the ids of the images with a final label, sorted."""

    def has_image(self, image_id: str) -> bool:
        """Return whether the pool holds this image now."""

    def is_labelled(self, image_id: str) -> bool:
        """Return whether the image has a final label that counts now."""

    def count_labelled(self) -> int:
        """Return the number of images with a final label."""

    @property
    def ignored_files(self) -> str:
        """Text on files that are not read, and what to do; "" for nothing."""

    @property
    def unwritable(self) -> str:
        """Why labels cannot be saved; "" if they can."""

    @property
    def unchecked_labels(self) -> AbstractSet[str]:
        """Images with a final label that came from elsewhere and is not checked yet."""

    @property
    def unedited_labels(self) -> AbstractSet[str]:
        """Images with a final label that equals a prediction or another label, and waits to be confirmed."""

    @property
    def refused_labels(self) -> Mapping[str, RefusedLabel]:
        """Final labels that do not count, by image, and files that are no image's label, by name."""

    def label_fingerprints(self, images: Sequence[str] | None = None) -> dict[str, str]:
        """Map images with a final label, by default all, to the fingerprint of the label's and own file."""

    def check_label(self, image_id: str, notes: list[str] | None = None) -> Finding:
        """Read a final label; return why it does not count, and its digest.

        :param notes: gets a sentence on everything in the file that is not used

        Raises ServerError when it cannot be had now.
        """

    @property
    def newest_check(self) -> int:
        """Number of the newest check that was taken in."""

    def take_in_checks(self, checks: Iterable[LabelCheck]) -> None:
        """Count labels, or not, by their checks; one of another file than the present one changes nothing."""

    def get_image_uri(self, image_id: str) -> str:
        """Return the path of the image's file, or of the cached series."""

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Map the tags of an image's labels to their ids."""

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return what is noted of a label; {} for an unknown one."""

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Save a label; return its id. Raises PoolError."""

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of a label's file, or "" when there is none."""

    def fingerprints(self, images: Sequence[str]) -> dict[str, str]:
        """Map images to the fingerprints of their files; one whose file is gone is left out."""

    def refresh(self) -> None:
        """Look at once at what is there, in a child process at what the server knows."""

    def take_over_changes(self) -> None:
        """Take in changes since the last call; cheap when there are none. Called in the background."""


class LabelStore(PoolStore, Protocol):
    """A datastore as somebody who labels sees it."""

    def label_version(self, image_id: str) -> int:
        """Return the number of an image's final label, from 1; 0 without one. It grows with each save."""

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return what is noted of a label; {} for an unknown one."""

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Check and keep a label; return its id. Raises PoolError 400, 404, 422, 502, 503, 507."""


@runtime_checkable
class KnowsPatients(Protocol):
    """A datastore that knows the patient of each image, as a DICOM server does."""

    def patient_of(self, image_id: str) -> str | None:
        """Return the patient of an image, or None when the image names none."""


class KeepsPatients(PoolStore, Protocol):
    """A datastore as the commands on a patient's privacy see it."""

    def kept_in_studies(self, images: Sequence[str]) -> list[str]:
        """Name the files, or series, of images and of their labels where the studies are."""

    def cached(self, images: Sequence[str]) -> list[Path]:
        """Return the copies of images and labels on this machine."""

    def cached_patients(self) -> dict[str, str]:
        """Return the patients of images that have left the studies, as far as copies say them."""

    def forget(self, images: Sequence[str]) -> None:
        """Remove the copies of images that have left the studies, and what is noted of them."""


@runtime_checkable
class FetchesImages(Protocol):
    """A datastore whose images are elsewhere, as on a DICOM server."""

    def prefetch(self, images: Sequence[str]) -> None:
        """Fetch images before they are asked for; one that cannot be had is named and skipped."""


@runtime_checkable
class MakesSegmentations(Protocol):
    """A datastore whose labels are DICOM segmentations."""

    def segmentation(self, image_id: str, label: str) -> Dataset:
        """Return a prediction for a series as DICOM SEG. Raises PoolError 404, 422, 503."""


@dataclass(frozen=True)
class Print:
    """The print of one image, made by `pool.imaging.prints` and stored by `pool.database.duplicates`.

    :param pixels: sha256 of the decoded values and their shape
    :param hash: packed bits, 576 of a picture, 3 * 576 of a volume
    """

    pixels: str
    hash: bytes
