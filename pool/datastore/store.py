"""MONAI Label's local datastore for a pool: it survives kills, and 100,000 images are no burden."""

from __future__ import annotations

import filecmp
import logging
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.datastore.local import DataModel, ImageLabelModel

from pool.datastore.contents import FINAL, Change
from pool.datastore.disk import InUse
from pool.datastore.folder import FolderDatastore
from pool.datastore.labels import (
    cannot_write,
    checked_extension,
    label_change,
    plain_info,
    put_in_place,
    take_away,
)
from pool.datastore.scan import found_info, split_name
from pool.files import make_folder, move_into_place, new_copy, sync_folder
from pool.imaging.label_check import check_tag
from pool.imaging.label_values import own_values
from pool.imaging.labels import LabelError

logger = logging.getLogger(__name__)
__all__ = ["InUse", "PoolDatastore"]
_STRANGE = '/\\:*?"<>|'  # in file names, on one system or another
_LONGEST = 200  # bytes of a file name: file systems take 255, and versions of labels add to it


class PoolDatastore(FolderDatastore):
    """A folder of images with labels below it; what selection asks of it is `pool.protocol.PoolStore`.

    One server writes; its children read what it wrote. Kept in `datastore_v2.json`, which stock MONAI Label
    reads and writes too, and in `datastore_v2.journal`. Call `close` when done.

    :param path: the studies folder
    :param labels: {name: value} that a final label may hold
    :param changed: called when images or labels came or went; the server passes it, its children do not
    :param read_only: True in the children: only the server writes
    :param saved: called as saved(image, tag, info) after a label is kept, from the thread that saved it

    Raises InUse when another process writes in the folder.
    """

    # labels -------------------------------------------------------------------------------------------

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Check a final label, then keep it; nothing is written before the check.

        Raises HTTPException: 400 for a strange tag, 404 for an unknown image, 422 for a label that does not
        fit, 507 when it cannot be written.
        """
        tag, info = check_tag(label_tag), plain_info(label_info)
        self._known(image_id)
        self._may_write(f"label for {image_id}", tag)
        try:
            image = self.get_image_uri(image_id)
            with own_values(label_filename, info, self._labels) as label:
                ext = checked_extension(label, tag, info, image, self._labels)
                info = self._keep_label(label_change(image_id, tag, ext, info), Path(label))
        except LabelError as error:
            raise HTTPException(422, f"label for {image_id}: {error}") from error
        except OSError as error:
            raise cannot_write(f"label for {image_id}", error) from error
        logger.info("Label of %s kept as %s/%s", image_id, tag, info["name"])
        self._tell_saved(image_id, tag, info)
        return image_id

    def _keep_label(self, change: Change, label: Path) -> dict[str, Any]:
        """The info that it was kept with."""
        assert change.image is not None and change.tag is not None
        folder = Path(self._datastore.label_path(change.tag))
        make_folder(folder)
        temporary = new_copy(label, folder)
        try:
            with self._lock:
                obj = self._known(change.image)
                before = obj.labels.get(change.tag)
                change, left = put_in_place(change, temporary, self._versions, before, self._record)
                self._contents.apply([change])
                for path in left:
                    path.unlink(missing_ok=True)
                sync_folder(folder)
                self._shorten()
        finally:
            temporary.unlink(missing_ok=True)
        return change.info

    def _tell_saved(self, image: str, tag: str, info: dict[str, Any]) -> None:
        try:
            if self._saved:
                self._saved(image, tag, dict(info))
            self._tell()
        except Exception:  # the label is kept, which is what counts
            logger.exception("What follows the label of %s failed", image)

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label; a final one is kept as a version. Raises HTTPException 400, 404, 507."""
        tag = check_tag(label_tag)
        self._may_write(f"label of {label_id}")
        try:
            self._take_label(label_id, tag)
        except OSError as error:
            raise cannot_write(f"label of {label_id}", error) from error
        self._tell()

    def _take_label(self, image: str, tag: str) -> None:
        with self._lock:
            label = self._label(image, tag)
            take_away(image, tag, Path(self._datastore.label_path(tag)), self._versions, label)
            self._make(Change(image=image, tag=tag, gone=True))
        logger.info("Label of %s removed: %s", image, tag)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is noted of a label. Raises HTTPException 400, 404, 507."""
        tag, more = check_tag(label_tag), plain_info(info)
        with self._lock:
            label = self._label(label_id, tag)
            self._change(Change(image=label_id, tag=tag, ext=label.ext, info=label.info | more))

    # images -------------------------------------------------------------------------------------------

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is noted of an image. Raises HTTPException 400, 404, 507.

        MONAI Label's note of who was handed the image last (`strategy`) stays in memory: it comes with each
        click, and the pool's ledger has it.
        """
        more = plain_info(info)
        with self._lock:
            image = self._known(image_id).image
            change = Change(image=image_id, ext=image.ext, info=image.info | more)
            if more.keys() == {"strategy"}:
                self._contents.apply([change])
            else:
                self._change(change)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Copy an image into the pool; its id, from the file's name when none is given.

        Raises HTTPException: 400 for a name that cannot be one, 409 when another image has it, 507.
        """
        name, info = split_name(Path(image_filename).name), plain_info(image_info)
        if name is None:
            raise HTTPException(400, f"{Path(image_filename).name!r} is no image that this app reads")
        image, ext = image_id or name[0], name[1]
        if (
            image.startswith(".")
            or set(image) & set(_STRANGE)
            or not image.isprintable()
            or not image.strip()
        ):
            raise HTTPException(
                400, f"image {image[:80]!r}: a name has none of {_STRANGE} and does not start with a dot"
            )
        if len((image + ext).encode()) > _LONGEST:
            raise HTTPException(400, f"image {image[:80]!r}...: a name has {_LONGEST} bytes at most")
        self._may_write(f"image {image}")
        try:
            with self._lock:
                if self._has_another(image, Path(image_filename), ext):
                    raise HTTPException(
                        409,
                        f"the pool has another image {image!r}; choose another name, or remove that one",
                    )
                folder = Path(self._image_folder)
                move_into_place(new_copy(Path(image_filename), folder), folder / (image + ext))
                self._make(Change(image=image, ext=ext, info=info | found_info(image + ext)))
        except OSError as error:
            raise cannot_write(f"image {image}", error) from error
        self._tell()
        return image

    def _has_another(self, image: str, file: Path, ext: str) -> bool:
        """Whether the id is taken by anything but this very file."""
        there = [Path(self.get_image_uri(image))] if self.has_image(image) else []
        there += [Path(self._image_folder) / (image + ext)]
        return any(path.exists() and not filecmp.cmp(path, file, shallow=False) for path in there)

    def remove_image(self, image_id: str) -> None:
        """Remove an image and its labels; final ones are kept as versions. Raises HTTPException 404, 507."""
        self._may_write(f"image {image_id}")
        try:
            with self._lock:
                for tag in self._known(image_id).labels:
                    self._take_label(image_id, tag)
                file = Path(self.get_image_uri(image_id))
                file.unlink(missing_ok=True)
                sync_folder(file.parent)
                self._make(Change(image=image_id, gone=True))
        except OSError as error:
            raise cannot_write(f"image {image_id}", error) from error
        logger.info("Image %s removed", image_id)
        self._tell()

    # the datastore ------------------------------------------------------------------------------------

    def set_name(self, name: str) -> None:
        self._change(Change(name=name))

    def set_description(self, description: str) -> None:
        self._change(Change(description=description))

    # keeping ------------------------------------------------------------------------------------------

    def _known(self, image: str) -> ImageLabelModel:
        obj = self._datastore.objects.get(image)
        if obj is None:
            raise HTTPException(
                404,
                f"there is no image {image!r} in this pool; ask for the next sample, or list the datastore",
            )
        return obj

    def _label(self, image: str, tag: str) -> DataModel:
        label = self._known(image).labels.get(tag)
        if label is None:
            raise HTTPException(404, f"image {image!r} has no label with the tag {tag!r}")
        return label

    def _may_write(self, what: str, tag: str = FINAL) -> None:
        """A child process keeps no final labels, but may leave the files of others for the server to find."""
        if self._unwritable and not (self._read_only and tag != FINAL):
            raise HTTPException(
                507,
                f"{what}: it cannot be saved, since the studies folder {self._datastore_path} cannot be "
                f"written ({self._unwritable}); make it writable for the server's user, start the server "
                "again, then save again",
            )

    def _record(self, changes: list[Change]) -> None:
        if not self._read_only:
            self._disk.record(changes)

    def _make(self, change: Change) -> None:
        """Keep one change, then show it. Raises OSError; then it is not made."""
        with self._lock:
            self._record([change])
            self._contents.apply([change])
            self._shorten()

    def _change(self, change: Change) -> None:
        """As `_make`, for what changes no file. Raises HTTPException 507."""
        what = "the note" if change.image is None else f"the note on {change.image}"
        if not self._read_only:
            self._may_write(what)
        try:
            self._make(change)
        except OSError as error:
            raise cannot_write(what, error) from error

    def _shorten(self) -> None:
        if self._disk.is_long():
            self._disk.try_rewrite(self._datastore)
