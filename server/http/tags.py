"""Tags of labels: those that mean something, and a warning about every other."""

from __future__ import annotations

import logging
from difflib import get_close_matches

from monailabel.interfaces.datastore import DefaultLabelTag

logger = logging.getLogger(__name__)
_KNOWN = [tag.value for tag in DefaultLabelTag]


def tag_warnings(tag: str) -> list[str]:
    """Return a sentence on a tag that nothing here reads, as a misspelt one, and log it; else nothing."""
    if tag in _KNOWN:
        return []
    near = get_close_matches(tag, _KNOWN, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    text = f"labels with the tag {tag!r} are kept but never count: only those with the tag 'final' do{hint}"
    logger.warning("%s", text)
    return [text]
