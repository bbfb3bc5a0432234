"""Checks that every datastore makes on a label before reading the file."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pool.errors import PoolError
from pool.imaging.names import LABEL_EXTENSIONS, LabelError
from pool.label_states import Verdict

_SECOND_EMPTY = 600.0  # seconds within which a second empty label is taken for what it is


def check_tag(tag: str) -> str:
    """Return a tag as text that can safely name a folder. Raises PoolError 400."""
    text = str(getattr(tag, "value", tag))
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise PoolError(400, f"tag {text[:80]!r}: use only letters, digits, _ and -, 64 at most")
    return text


def unknown_image(image: str) -> PoolError:
    """Return the error for an image that is not in the pool (404)."""
    return PoolError(
        404, f"there is no image {image!r} in this pool; ask for the next sample, or list the datastore"
    )


def plain_info(info: object) -> dict[str, Any]:
    """Return an info as JSON gives it back: text keys, no NaN, no half characters. Raises PoolError 400."""
    text = json.dumps(info or {}, default=str, ensure_ascii=False).encode("utf-8", "replace")
    plain = json.loads(text, parse_constant=lambda _: None)
    if not isinstance(plain, dict):
        raise PoolError(400, 'parameters and infos are {"name": value, ...}')
    return plain


def may_be_empty(info: Mapping[str, Any]) -> bool:
    """Return whether the annotator marked the label as empty on purpose."""
    return str(info.get("empty", False)).lower() == "true"


class EmptySaves:
    """Empty labels that were refused: a client that saves a second one within ten minutes means it.

    Most clients cannot send the parameter `empty`.

    :param accepts_all: keep every empty label, also the first one
    """

    def __init__(self, accepts_all: bool = False) -> None:
        self.accepts_all = accepts_all
        self._refused: dict[tuple[str, str], float] = {}  # by image and client, on the monotonic clock

    def is_meant(self, image: str, info: Mapping[str, Any]) -> bool:
        """Return whether this client sent an empty label of this image a moment ago, or all are accepted."""
        if self.accepts_all:
            return True
        return time.monotonic() - self._refused.get(_saver(image, info), -_SECOND_EMPTY) < _SECOND_EMPTY

    def refuse(self, image: str, info: Mapping[str, Any]) -> None:
        """Remember that an empty label is being refused."""
        now = time.monotonic()
        self._refused = {who: at for who, at in self._refused.items() if now - at < _SECOND_EMPTY}
        self._refused[_saver(image, info)] = now


def _saver(image: str, info: Mapping[str, Any]) -> tuple[str, str]:
    return image, str(info.get("user") or info.get("client_id") or "")


def with_warnings(info: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Return an info that says, under `warnings`, what of a label is not kept as it was sent."""
    others = {key: value for key, value in info.items() if key != "warnings"}
    return others | ({"warnings": warnings} if warnings else {})


def with_verdict(info: Mapping[str, Any], verdict: Verdict, digest: str, notes: list[str]) -> dict[str, Any]:
    """Return the info of a final label with its state and digest; `notes` gets what the verdict says."""
    if verdict.note:
        notes.append(verdict.note)
    return {**info, "state": verdict.state, "digest": digest}


def label_extension(file: str) -> str:
    """Return the extension to store a label with. Raises LabelError for a file that is not a label."""
    ext = next((e for e in LABEL_EXTENSIONS if file.lower().endswith(e)), None)
    if ext is None:
        from pool.imaging.errors import reading_label  # imports readers of images
        from pool.imaging.formats import kind_of

        with reading_label(file):
            kind_of(file)  # a header without its voxels says so
        raise LabelError(
            f"a label file ends in {', '.join(LABEL_EXTENSIONS)}; save {Path(file).name!r} as one of these"
        )
    return ext
