"""Check labels and keep them, so that no kill loses a label or the one before it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pool.datastore.folder import StudiesFolder
from pool.datastore.index import FINAL, Change
from pool.datastore.model import DataModel
from pool.datastore.versions import files_of, keep_version, next_version, versions_of
from pool.errors import PoolError
from pool.files import cannot_write, make_shared_folder, new_copy, replacing, share, sync_folder
from pool.imaging.label_check import (
    EmptySaves,
    check_tag,
    label_extension,
    may_be_empty,
    plain_info,
    with_verdict,
    with_warnings,
)
from pool.imaging.names import EmptyLabel, LabelError, UnknownValues, image_fingerprint
from pool.label_states import Judge, verdict_on
from pool.left_notes import leave_note
from pool.protocol import Finding, LabelCheck, RefusedLabel

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)
Record = Callable[[list[Change]], None]
Saved = Callable[[str, str, dict[str, Any]], None]
_STRAY = "it belongs to no image: name a label as its image, such as x.png or x.nrrd for the image x"


class LabelFiles:
    """The labels of a studies folder, with the final ones that were replaced or removed.

    :param labels: {name: value} that a final label may hold
    :param saved: called as saved(image, tag, info) after a label is kept, from the thread that saved it
    :param judge: compares a label that is being saved with predictions and with other labels
    :param accepts_empty: labels without a voxel count, whoever made them
    """

    def __init__(
        self,
        folder: StudiesFolder,
        labels: Mapping[str, int],
        saved: Saved | None,
        judge: Judge | None = None,
        accepts_empty: bool = False,
    ) -> None:
        self._folder, self._labels, self._saved = folder, labels, saved
        self._judge, self._empty_saves = judge, EmptySaves(accepts_empty)

    def save(self, image: str, file: str, tag: str, info: Mapping[str, Any]) -> None:
        """Check a final label, then keep it; nothing is written before the check.

        Raises PoolError: 400 for a strange tag, 404 for an unknown image, 422 for a label that does not
        fit, 507 when it cannot be written.
        """
        from pool.imaging.label_values import own_values  # imports readers of images

        tag, info = check_tag(tag), plain_info(info)
        self._folder.index.image(image)
        self._folder.check_writable(f"label for {image}", tag)
        try:
            with own_values(file, info, self._labels) as label:
                ext, info = self._checked(label, image, tag, info)
                info = self._keep(label_change(image, tag, ext, info), Path(label))
        except LabelError as error:
            if isinstance(error, EmptyLabel):
                self._empty_saves.refuse(image, info)
            raise PoolError(422, f"label for {image}: {error}") from error
        except OSError as error:
            raise cannot_write(f"label for {image}", error) from error
        if self._folder.read_only:
            leave_note(self.path(tag) / (image + ext), info)
        logger.info("Label of %s kept as %s/%s", image, tag, info["name"])
        self._tell_saved(image, tag, info)

    def _checked(self, label: str, image: str, tag: str, info: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return a label's extension, and its info with state and warnings. Raises LabelError."""
        from pool.imaging.digests import label_digest  # imports numpy

        notes: list[str] = []
        given = info | {"empty": True} if self._empty_saves.is_meant(image, info) else info
        ext, voxels = checked_label(label, tag, given, self._image_file(image), self._labels, notes)
        if voxels is not None:
            digest = label_digest(voxels)
            info = info if digest else given
            verdict = verdict_on(image, digest, voxels, info, self._judge)
            info = with_verdict(info, verdict, digest, notes)
        return ext, with_warnings(info, notes)

    def _image_file(self, image: str) -> str:
        return os.path.join(self._folder.images, image + self._folder.index.image(image).image.ext)

    def _keep(self, change: Change, label: Path) -> dict[str, Any]:
        """Put a checked label in its place; returns the info that it was kept with."""
        assert change.image is not None and change.tag is not None
        folder = self.path(change.tag)
        make_shared_folder((folder / change.image).parent, self.path(FINAL))
        temporary = new_copy(label, folder)
        share(temporary, self.path(FINAL))
        try:
            with self._folder.lock:
                before = self._folder.index.image(change.image).labels.get(change.tag)
                change, replaced = put_in_place(
                    change, temporary, self._folder.versions, before, self._folder.record
                )
                self._folder.index.apply([change])
                for path in replaced:
                    path.unlink(missing_ok=True)
                sync_folder(folder)
                self._folder.shorten()
        finally:
            temporary.unlink(missing_ok=True)
        return change.info

    def _tell_saved(self, image: str, tag: str, info: dict[str, Any]) -> None:
        try:
            if self._saved:
                self._saved(image, tag, dict(info))
            self._folder.notify()
        except Exception:  # the label is kept, which is what counts
            logger.exception("Telling the server about the label of %s failed", image)

    # labels that came from elsewhere ----------------------------------------------------------------------

    def fingerprints(self, images: Sequence[str] | None = None) -> dict[str, str]:
        """Map images with a final label, by default all, to the fingerprint of the label's and own file."""
        if images is None:
            index = self._folder.index
            images = sorted(index.labelled | index.unchecked | index.refused.keys())
        return {image: found for image in images if (found := self._fingerprint(image))}

    def _fingerprint(self, image: str) -> str:
        """Return the fingerprint of a final label and its image; "" when a file is gone."""
        with suppress(FileNotFoundError, PoolError):
            label = self._folder.index.label(image, FINAL)
            files = self.path(FINAL) / (image + label.ext), self._image_file(image)
            return "|".join(image_fingerprint(file) for file in files)
        return ""

    def version(self, image: str) -> int:
        """Return the number of a final label, the one that it gets as a version; 0 without one."""
        if (label := self._folder.index.model.label(image, FINAL)) is None:
            return 0
        return int(label.info.get("version") or next_version(self._folder.versions, image))

    def check(self, image: str, notes: list[str] | None = None) -> Finding:
        """Read a final label; return why it does not count, and its digest."""
        from pool.imaging.digests import label_digest  # imports numpy

        try:
            label = self._folder.index.label(image, FINAL)
            file = str(self.path(FINAL) / (image + label.ext))
            info = label.info | ({"empty": True} if self._empty_saves.accepts_all else {})
            _, voxels = checked_label(file, FINAL, info, self._image_file(image), self._labels, notes)
        except UnknownValues as error:
            if len(error.values) > 2:  # a picture rather than a label
                return Finding(str(error))
            value = error.values[0]
            fix = f"if {value} means 1, write it anew by scan-selection labels fix --map {value}=1"
            return Finding(f"{error}; {fix}")
        except (LabelError, PoolError) as error:
            return Finding(str(error))
        return Finding("", "" if voxels is None else label_digest(voxels))

    def rewrite(self, image: str, values: Mapping[int, int]) -> bool:
        """Write a final label anew if its unknown values are in a mapping; keep the former as a version.

        :param values: {value in the file: value of the app}

        Returns whether it was written. Raises LabelError for a label that does not fit otherwise, PoolError
        404, OSError.
        """
        import numpy as np

        from pool.imaging.label_writer import write_label  # imports readers of images
        from pool.imaging.labels import grid_of, read_label

        label = self._folder.index.label(image, FINAL)
        file, picture = self.path(FINAL) / (image + label.ext), self._image_file(image)
        try:
            read_label(str(file), self._labels, picture)
            return False
        except UnknownValues:
            known = {**self._labels} | {str(value): value for value in values}
        array = read_label(str(file), known, picture)
        out = array.copy()
        for value, meaning in values.items():
            out = np.where(array == value, np.uint8(meaning), out)
        keep_version(self._folder.versions, image, file, label.info, "replaced")
        with replacing(file) as part:
            write_label(part, out, grid_of(picture)[1], self._labels, {}, picture)
            share(part, self.path(FINAL))
        return True

    def settle(self, check: LabelCheck) -> None:
        """Count a label, or not, by its check, if that was of the present file."""
        with self._folder.lock:
            if check.fingerprint == self._fingerprint(check.image):
                self._folder.index.settle(check.image, check.reason, check.state)

    def refused(self) -> dict[str, RefusedLabel]:
        """Return the files that do not count: by image, or by name if they belong to no image."""
        index, refused = self._folder.index, dict[str, RefusedLabel]()
        for image, reason in sorted(index.refused.items()):
            with suppress(PoolError):  # just removed
                refused[image] = RefusedLabel(image + index.label(image, FINAL).ext, reason)
        return refused | {name: RefusedLabel(name, _STRAY) for name in self._folder.strays(FINAL)}

    def files_of(self, image: str) -> list[Path]:
        """Return the files of an image's labels with any tag, and of their versions, sorted."""
        top = Path(self._folder.index.model.label_path(None))
        folders = [folder for folder in sorted(top.glob("*")) if folder.is_dir()]
        labels = [file for folder in folders for file in files_of(folder, image)]
        return labels + versions_of(self._folder.versions, image)

    def path(self, tag: str) -> Path:
        """The folder of the labels of a tag."""
        return Path(self._folder.index.model.label_path(tag))

    def remove(self, image: str, tag: str) -> None:
        """Remove a label; a final one is kept as a version. Raises PoolError 400, 404, 507."""
        tag = check_tag(tag)
        self._folder.check_writable(f"label of {image}")
        try:
            self.take_away(image, tag)
        except OSError as error:
            raise cannot_write(f"label of {image}", error) from error
        self._folder.notify()

    def take_away(self, image: str, tag: str) -> None:
        """Remove a label, telling nobody. Raises OSError, PoolError 404."""
        with self._folder.lock:
            label = self._folder.index.label(image, tag)
            take_away(image, tag, self.path(tag), self._folder.versions, label)
            self._folder.make(Change(image=image, tag=tag, gone=True))
        logger.info("Label of %s removed: %s", image, tag)

    def add_info(self, image: str, tag: str, info: Mapping[str, Any]) -> None:
        """Add to what is noted of a label. Raises PoolError 400, 404, 507."""
        tag, more = check_tag(tag), plain_info(info)
        with self._folder.lock:
            label = self._folder.index.label(image, tag)
            self._folder.note(Change(image=image, tag=tag, ext=label.ext, info=label.info | more))


def checked_label(
    label: str,
    tag: str,
    info: Mapping[str, Any],
    image: str,
    labels: Mapping[str, int],
    notes: list[str] | None = None,
) -> tuple[str, np.ndarray | None]:
    """Check a label; return the extension to keep it under, and a final label's voxels. Raises LabelError.

    Only final labels are opened.

    :param image: path of the image
    :param notes: gets a sentence on everything that is not kept as the file has it
    """
    from pool.imaging.labels import check_label  # imports readers of images

    ext = label_extension(label)
    if tag != FINAL:
        return ext, None
    return ext, check_label(label, labels, image, allow_empty=may_be_empty(info), notes=notes)


def put_in_place(
    change: Change, temporary: Path, versions: Path, before: DataModel | None, record: Record
) -> tuple[Change, list[Path]]:
    """Move a label from its hidden file to its place, and keep what it replaces as a version.

    Returns the change as it was recorded, and the replaced files that are left to remove.

    The order lets a kill at any point leave both: the old one gets its second name, the new one is recorded
    with its hidden file (read again at the next start, which ends the move), then renamed.

    :param before: the label that the datastore knows now
    :param record: keeps changes; raises OSError

    Raises OSError; then the label is as it was before.
    """
    assert change.image is not None and change.tag is not None
    folder, target = temporary.parent, temporary.parent / (change.image + change.ext)
    info = dict(change.info)
    old = files_of(folder, change.image, [before.ext] if before else ())
    if change.tag == FINAL:
        _keep_all(versions, change.image, old, before, "replaced")
        info["version"] = next_version(versions, change.image)
    sync_folder(folder)
    change = change.model_copy(update={"info": info, "file": temporary.name})
    record([change])
    try:
        os.replace(temporary, target)
    except BaseException:
        record([_back(change, before)])
        raise
    return change, [path for path in old if path != target]


def _back(change: Change, before: DataModel | None) -> Change:
    """Return the change that undoes a change of a label."""
    if before is None:
        return Change(image=change.image, tag=change.tag, gone=True)
    return Change(image=change.image, tag=change.tag, ext=before.ext, info=before.info)


def take_away(image: str, tag: str, folder: Path, versions: Path, known: DataModel) -> None:
    """Remove a label's files; final ones become versions. Raises OSError."""
    files = files_of(folder, image, [known.ext])
    if tag == FINAL:
        _keep_all(versions, image, files, known, "removed")
    for path in files:
        path.unlink()
    if files:
        sync_folder(folder)


def _keep_all(versions: Path, image: str, files: list[Path], known: DataModel | None, ended: str) -> None:
    for path in files:
        ours = known is not None and path.name == Path(image + known.ext).name
        keep_version(versions, image, path, known.info if ours and known else {}, ended)


def label_change(image: str, tag: str, ext: str, info: Mapping[str, Any]) -> Change:
    """Return the change that keeps a label, its info with the time and the file's name."""
    more = {"ts": int(time.time()), "name": Path(image + ext).name}
    return Change(image=image, tag=tag, ext=ext, info={**info, **more})
