"""Splitting labelled images into those trained on and those validated on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.model_selection import GroupShuffleSplit

Pairs = list[dict[str, Any]]


def split_groups(pairs: Pairs, groups: Sequence[str], share: float, seed: int) -> tuple[Pairs, Pairs]:
    """Pairs for training and for validation: `share` of the groups (patients), drawn with the seed.

    :param groups: one of each pair

    Raises RuntimeError when one of the two would be empty.
    """
    try:
        splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
        train, held_out = next(splitter.split(pairs, groups=groups))
    except ValueError as error:
        raise RuntimeError(
            f"val_split {share:g} of {len(set(groups))} patients (or images, where they are not grouped) "
            f"leaves nothing to train on or is no share: {error}; label more, or train with val_split 0"
        ) from error
    return [pairs[row] for row in train], [pairs[row] for row in held_out]
