"""What every datastore asks of a label before it looks into the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pool.errors import PoolError
from pool.imaging.labels import EXTENSIONS, LabelError


def check_tag(tag: str) -> str:
    """A tag as text, which may name a folder. Raises PoolError 400."""
    text = str(getattr(tag, "value", tag))
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise PoolError(400, f"tag {text[:80]!r}: use letters, digits, _ and - only, 64 at most")
    return text


def unknown_image(image: str) -> PoolError:
    """What to answer when there is no such image."""
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
    """Whether the annotator said that nothing is to be seen."""
    return str(info.get("empty", False)).lower() == "true"


def label_extension(file: str) -> str:
    """The extension to keep a label under. Raises LabelError for a file that is no label."""
    ext = next((e for e in EXTENSIONS if file.lower().endswith(e)), None)
    if ext is None:
        raise LabelError(f"a label file ends in {', '.join(EXTENSIONS)}, not as {Path(file).name!r}")
    return ext
