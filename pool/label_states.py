"""States of final labels, and which of them count.

A label that equals a prediction of this server was most likely not looked at: it is kept, but it counts only
once somebody confirms it. Every datastore decides by these rules alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

EDITED, CONFIRMED, UNEDITED, EMPTY = "edited", "confirmed", "unedited", "empty"
IsPrediction = Callable[[str, str], bool]
UNEDITED_NOTE = (
    "this label equals a prediction and does not count until somebody confirms it: save it with the "
    "parameter 'confirmed': true, or scan-selection confirm"
)


def state_of(image: str, digest: str, info: Mapping[str, Any], is_prediction: IsPrediction | None) -> str:
    """Return the state of a final label that is being saved.

    :param digest: of the label, from `pool.imaging.digests.label_digest`
    :param info: what was sent with it: `confirmed` is true when a person has looked at it
    :param is_prediction: whether clients were given this label (image, digest) as a prediction
    """
    if not digest:
        return EMPTY
    if str(info.get("confirmed", False)).lower() == "true":
        return CONFIRMED
    return UNEDITED if is_prediction and is_prediction(image, digest) else EDITED
