"""Split of labelled images into training and validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Pairs = list[dict[str, Any]]


def split_groups(pairs: Pairs, groups: Sequence[str], share: float, seed: int) -> tuple[Pairs, Pairs]:
    """Split pairs into training and validation: `share` of the groups (patients), drawn with the seed.

    :param groups: group of each pair

    Raises RuntimeError if either would be empty.
    """
    from sklearn.model_selection import GroupShuffleSplit  # slow to import

    try:
        splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
        train, held_out = next(splitter.split(pairs, groups=groups))
    except ValueError as error:
        raise RuntimeError(
            f"val_split {share:g} of {len(set(groups))} patients (images, if not grouped) leaves nothing to "
            f"train on or is not a valid share: {error}; label more, or train with val_split 0"
        ) from error
    return [pairs[row] for row in train], [pairs[row] for row in held_out]
