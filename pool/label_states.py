"""States of final labels, and which of them count.

A label that equals a prediction of this server was most likely not looked at, one that equals the label of
another image not meant: both are kept, but count only once somebody confirms them. Every datastore decides by
these rules alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

EDITED, CONFIRMED, UNEDITED, COPIED, EMPTY = "edited", "confirmed", "unedited", "copied", "empty"
WAITING = (UNEDITED, COPIED)  # do not count until somebody confirms them
_CONFIRM = (
    "does not count until somebody confirms it: save it with the parameter 'confirmed': true, or "
    "scan-selection confirm"
)
UNEDITED_NOTE = f"this label equals a prediction and {_CONFIRM}"


class Verdict(NamedTuple):
    """The state of a final label, and a sentence for whoever saved it; "" for nothing to say."""

    state: str
    note: str = ""


Judge = Callable[[str, str, "np.ndarray"], Verdict]  # of an image, its label's digest, and its label


def copied(other: str) -> Verdict:
    """Return the verdict on a label that equals the one of another image."""
    return Verdict(COPIED, f"this label equals that of image {other} and {_CONFIRM}")


def verdict_on(
    image: str, digest: str, label: np.ndarray, info: Mapping[str, Any], judge: Judge | None
) -> Verdict:
    """Return the verdict on a final label that is being saved.

    :param digest: of the label, from `pool.imaging.digests.label_digest`
    :param label: on the image's own grid
    :param info: what was sent with it: `confirmed` is true when a person has looked at it
    :param judge: compares the label with predictions and with other labels
    """
    if not digest:
        return Verdict(EMPTY)
    if str(info.get("confirmed", False)).lower() == "true":
        return Verdict(CONFIRMED)
    return judge(image, digest, label) if judge else Verdict(EDITED)
