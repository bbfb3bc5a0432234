"""Plans that are made anew after each label: what is known by then, and the reasons of the picks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pool.database.heads import Head
from strategies.measures import FOREGROUND
from strategies.planning.positions import positions_of
from strategies.selectors.registry import Method

LABELS = "labels_fingerprint"  # detail of such a plan
PICKS = 20  # of one plan: the next label brings another
_PRIOR = {"uncertainty": 1.0, FOREGROUND: 0.5}  # before the first head
_MAX_NAMED = 3  # structures in a reason


def labels_fingerprint(labelled: Sequence[str]) -> str:
    """Return a short digest of the labelled images."""
    return hashlib.sha256("\n".join(labelled).encode()).hexdigest()[:16]


def extra_columns(
    method: Method, head: Head | None, images: list[str], labelled: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return further arguments of such a method, one number per image (N,).

    They are the position of slices, if it needs foreground, and before the first head the same score for
    all, NaN for labelled rows.
    """
    columns = {}
    if head is None:
        for name in method.values:
            columns[name] = np.full(len(images), _PRIOR[name])
            columns[name][labelled] = np.nan
    positions = positions_of(images) if FOREGROUND in method.needs else None
    return columns if positions is None else columns | {"position": positions}


def with_reasons(
    method: Method, picks: list[dict[str, Any]], head: Head | None, n_labelled: int, has_positions: bool
) -> list[dict[str, Any]]:
    """Return the picks with the reason of each in words, which stays true when the next head comes."""
    facts = {"structures": _structures(head), "head_note": _head_note(head, n_labelled, has_positions)}
    return [{**pick, "reason": method.explain(pick, facts)} for pick in picks]


def _structures(head: Head | None) -> str:
    """Name the structures that a head has seen."""
    counts: dict[str, int] = head.facts.get("labels", {}) if head else {}
    names = [name for name, count in counts.items() if count]
    if not names:
        return "something"
    if len(names) > _MAX_NAMED:
        return f"one of {len(names)} structures"
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _head_note(head: Head | None, n_labelled: int, has_positions: bool) -> str:
    """Say what the plan does not know, or nothing."""
    if head is None:
        way = "judged by the position in the volume, since " if has_positions else ""
        return f" ({way}no label is learnt from yet)"
    return "" if head.n_labels == n_labelled else f" (learnt from {head.n_labels} labels so far)"
