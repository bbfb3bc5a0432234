"""Final labels that were replaced or removed: nothing is overwritten without trace.

`versions/final/<image>.<n><extension>` in the studies folder, n = 1, 2, ..., beside it `<image>.<n>.json`:
who made it and when, why and when it ended.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from pool.files import link_or_copy, make_shared_folder, share, write_atomically
from pool.imaging.names import EXTENSIONS


def files_of(folder: Path, image: str, extensions: Iterable[str] = ()) -> list[Path]:
    """Label files of one image in a folder, those with the given extensions first."""
    names = dict.fromkeys(image + ext for ext in (*extensions, *EXTENSIONS))
    return [folder / name for name in names if (folder / name).is_file()]


def versions_of(folder: Path, image: str) -> list[Path]:
    """Files of one image's versions, and the notes on them, sorted."""
    name = re.compile(rf"{re.escape(Path(image).name)}\.\d+\..+")
    return sorted(path for path in (folder / image).parent.glob("*") if name.fullmatch(path.name))


def next_version(folder: Path, image: str) -> int:
    """1 and up; the first number that no kept version of the image has."""
    return next(n for n in count(1) if not _taken(folder, image, n))


def _taken(folder: Path, image: str, number: int) -> bool:
    return any(os.path.lexists(folder / f"{image}.{number}{ext}") for ext in (".json", *EXTENSIONS))


def keep_version(folder: Path, image: str, label: Path, info: Mapping[str, Any], ended: str) -> int:
    """Keep a label file under the next number, which is given back; a second call for it changes nothing.

    :param folder: where versions are kept
    :param info: what the datastore knows of the label; empty for a file that it does not use
    :param ended: "replaced" or "removed"

    Raises OSError; the label itself stays where it is in any case.
    """
    make_shared_folder((folder / image).parent, label.parent)
    ext = label.name[len(Path(image).name) :]
    for number in count(1):
        target = folder / f"{image}.{number}{ext}"
        kept = target.is_file() and os.path.samefile(target, label)  # by a save that was killed after this
        if not kept and _taken(folder, image, number):
            continue
        if not kept:
            link_or_copy(label, target)
        note = folder / f"{image}.{number}.json"
        if note.exists() and not info:  # a file that was left after it was kept; its note knows more
            return number
        said = {"image": image, "version": number, "file": target.name, "info": dict(info)}
        said |= {"ended": ended, "ended_ts": int(time.time())}
        write_atomically(note, json.dumps(said, indent=2, default=str).encode())
        copied = [] if os.path.samefile(target, label) else [target]
        for path in (note, *copied):
            share(path, label.parent)
        return number
    raise AssertionError("count never ends")
