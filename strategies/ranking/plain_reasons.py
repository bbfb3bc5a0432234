"""Reasons of picks in a reader's words, for the pages; `Ranking.reason_of` has those with numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from strategies.selectors.registry import Method

_WAITING = (
    "It looks least like the images labelled, being labelled or picked before it. The first model is not "
    "ready yet."
)
_SURE, _ALIKE = 0.33, 0.08  # below these, the model is sure of an image, and it is like the labelled ones
_UNSURE = (  # words from a value on, the highest first
    (0.67, "is very unsure about it"),
    (_SURE, "is rather unsure about it"),
    (-inf, "is fairly sure about it"),
)
_UNLIKE = (
    (0.25, "it looks quite unlike"),
    (_ALIKE, "it differs somewhat from"),
    (-inf, "it looks much like"),
)


def plain_reason(method: Method | None, selection: Mapping[str, Any]) -> str | None:
    """Explain a pick in a reader's words, without numbers; None where its method declares no such sentence.

    :param selection: the pick's `selection` block, as in the ledger, or its evidence in a plan
    """
    is_planned = selection.get("rank") is not None
    if not is_planned and (selection.get("role"), selection.get("stage")) == ("farthest", "bridging"):
        return _WAITING
    return method.explain_plainly({**selection, **_words(selection)}) if method else None


def _words(selection: Mapping[str, Any]) -> dict[str, str]:
    """Put round, entropy (0 to 1) and distance (in widths of the map) into words, where they are known."""
    round_ = selection.get("round")
    words = {"model": f"The model of round {round_}" if round_ else "The model"}
    entropy, distance = selection.get("entropy"), selection.get("distance")
    if isinstance(entropy, int | float):
        words["unsure"] = _graded(entropy, _UNSURE)
    if isinstance(distance, int | float):
        words["unlike"] = _graded(distance, _UNLIKE)
    if isinstance(entropy, int | float) and isinstance(distance, int | float):
        is_sure, is_alike = entropy < _SURE, distance < _ALIKE
        words["joined"] = "and" if is_sure == is_alike else "though" if is_alike else "but"
    return words


def _graded(value: float, words: Sequence[tuple[float, str]]) -> str:
    return next(text for least, text in words if value >= least)
