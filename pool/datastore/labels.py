"""Checking a label before it is kept, and keeping it so that no kill loses it or the one before."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.datastore.local import DataModel

from pool.datastore.contents import FINAL, Change
from pool.datastore.versions import files_of, keep_version, next_version
from pool.files import advice, sync_folder
from pool.imaging.labels import EXTENSIONS, LabelError, check_label

Record = Callable[[list[Change]], None]


def plain_info(info: object) -> dict[str, Any]:
    """An info as JSON gives it back: text keys, no NaN, no broken letters. Raises HTTPException 400."""
    text = json.dumps(info or {}, default=str, ensure_ascii=False).encode("utf-8", "replace")
    found = json.loads(text, parse_constant=lambda _: None)
    if not isinstance(found, dict):
        raise HTTPException(400, 'parameters and infos are {"name": value, ...}')
    return found


def cannot_write(what: str, error: OSError) -> HTTPException:
    """The answer when a file could not be written."""
    return HTTPException(507, f"{what}: the server could not write it ({error}); {advice(error)}")


def checked_extension(
    label: str, tag: str, info: Mapping[str, Any], image: str, labels: Mapping[str, int]
) -> str:
    """The extension to keep a label under. Raises LabelError; only final labels are looked into.

    :param image: path of the image
    """
    ext = next((e for e in EXTENSIONS if label.lower().endswith(e)), None)
    if ext is None:
        raise LabelError(f"a label file ends in {', '.join(EXTENSIONS)}, not as {Path(label).name!r}")
    if tag == FINAL:
        empty = str(info.get("empty", False)).lower() == "true"
        check_label(label, labels, image, allow_empty=empty)
    return ext


def put_in_place(
    change: Change, temporary: Path, versions: Path, before: DataModel | None, record: Record
) -> tuple[Change, list[Path]]:
    """Let a label that waits as a hidden file take its place; what it replaces becomes a version.

    The change as it was recorded and files that are left to remove.


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
    """The change that takes a change of a label back."""
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
        ours = known is not None and path.name == image + known.ext
        keep_version(versions, image, path, known.info if ours and known else {}, ended)


def label_change(image: str, tag: str, ext: str, info: Mapping[str, Any]) -> Change:
    """A label as it will be kept: its info with when and under which name."""
    return Change(image=image, tag=tag, ext=ext, info={**info, "ts": int(time.time()), "name": image + ext})
