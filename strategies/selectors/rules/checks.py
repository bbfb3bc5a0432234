"""Input checks shared by all selectors; each raises ValueError naming the row or value."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
RowNumbers = Iterable[int] | npt.NDArray[np.integer[Any]]
Groups = Sequence[int] | Sequence[str] | npt.NDArray[Any]

# Sums of squares of larger numbers may overflow, making distances inf.
LARGEST = 1e100


@dataclass(frozen=True, eq=False)
class Rows:
    """Roles of the rows in one call: sorted, unique row numbers.

    `unlabelled` are all rows without label (the pool over which scores are normalised); `candidates` are
    those of them that may be picked. `groups` holds the group number of every row, from 0.
    """

    labelled: IntArray
    unlabelled: IntArray
    candidates: IntArray
    groups: IntArray


def check_points(points: npt.ArrayLike) -> FloatArray:
    """Return `points` as a C-ordered float64 array (N, D); an empty list becomes (0, 2).

    Raises:
        ValueError: not two-dimensional, without columns, or a row with NaN, inf or a value beyond 1e100.
    """
    array = np.ascontiguousarray(points, dtype=np.float64)
    if array.size == 0 and array.shape[0] == 0:
        return np.zeros((0, array.shape[1] if array.ndim == 2 and array.shape[1] else 2))
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"points must have shape (rows, columns), not {array.shape}")
    # min and max propagate NaN and, unlike comparing the whole array, allocate no copy
    if not (array.min() >= -LARGEST and array.max() <= LARGEST):
        row = next(row for row in range(len(array)) if not _usable(array[row]).all())
        value = array[row][~_usable(array[row])][0]
        raise ValueError(f"points row {row} holds {value}; every value must be finite and within 1e100")
    return array


def check_entropy(
    entropy: npt.ArrayLike, unlabelled: IntArray, n_rows: int, name: str = "entropy"
) -> FloatArray:
    """Return `entropy`, or another number per row, as float64 (N,); labelled rows are not checked.

    Raises:
        ValueError: not one value per row, or NaN, inf or a value beyond 1e100 in the unlabelled pool.
    """
    values = np.asarray(entropy, dtype=np.float64)
    if values.shape != (n_rows,):
        raise ValueError(f"{name} must have one value per row: shape ({n_rows},), not {values.shape}")
    bad = unlabelled[~_usable(values[unlabelled])]
    if len(bad):
        raise ValueError(f"{name} of row {bad[0]} is {values[bad[0]]}; it must be finite and within 1e100")
    return values


def check_range(
    values: npt.ArrayLike, upper: float, unlabelled: IntArray, n_rows: int, name: str
) -> FloatArray:
    """Check as `check_entropy`, and that values in the unlabelled pool lie in [0, upper]."""
    checked = check_entropy(values, unlabelled, n_rows, name)
    wrong = unlabelled[(checked[unlabelled] < 0) | (checked[unlabelled] > upper)]
    if len(wrong):
        raise ValueError(f"{name} of row {wrong[0]} is {checked[wrong[0]]}; it must lie in [0, {upper:g}]")
    return checked


def check_share(share: float, name: str) -> float:
    """Return `share` as a float in [0, 1]; raise ValueError otherwise, also for NaN."""
    value = float(share)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], not {value}")
    return value


def check_alpha(alpha: float) -> float:
    """Return `alpha` as a float in [0, 1]; raise ValueError otherwise, also for NaN."""
    return check_share(alpha, "alpha")


def check_budget(budget: int) -> int:
    """Return `budget` as an int >= 0; raise ValueError if negative, TypeError if not an integer."""
    value = operator.index(budget)
    if value < 0:
        raise ValueError(f"budget must not be negative, got {value}")
    return value


def check_labels(labels: npt.ArrayLike, n_rows: int) -> IntArray:
    """Return `labels` as int64 (N,); raise ValueError unless they are integers, one per row."""
    array = np.asarray(labels)
    if array.shape != (n_rows,):
        raise ValueError(f"labels must have one value per row: shape ({n_rows},), not {array.shape}")
    if n_rows and array.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, not {array.dtype}")
    return array.astype(np.int64)


def check_groups(groups: Groups | None, n_rows: int) -> IntArray:
    """Return each row's group number, from 0, as int64 (N,); None makes each row its own group.

    Raises:
        ValueError: not one id per row, or ids that are neither integers nor strings.
    """
    if groups is None:
        return np.arange(n_rows, dtype=np.int64)
    array = np.asarray(groups)
    if array.shape != (n_rows,):
        raise ValueError(f"groups must have one id per row: shape ({n_rows},), not {array.shape}")
    if array.dtype == object:
        for row, name in enumerate(array):
            if not isinstance(name, str):
                raise ValueError(f"group of row {row} is {name!r}; ids must be integers or strings")
        array = array.astype(np.str_)
    if n_rows and array.dtype.kind not in "iuU":
        raise ValueError(f"groups must be integers or strings, not {array.dtype}")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def check_rows(
    n_rows: int,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
) -> Rows:
    """Split rows 0 .. n_rows-1 by role. Labelled rows are never candidates, even if named as such.

    Raises:
        ValueError: a row number that is not an integer or out of range; groups that `check_groups` refuses.
    """
    group_of = check_groups(groups, n_rows)
    taken = row_numbers(labelled, n_rows, "labelled")
    unlabelled = np.setdiff1d(np.arange(n_rows, dtype=np.int64), taken, assume_unique=True)
    if candidates is None:
        return Rows(taken, unlabelled, unlabelled, group_of)
    allowed = row_numbers(candidates, n_rows, "candidates")
    return Rows(taken, unlabelled, np.intersect1d(unlabelled, allowed, assume_unique=True), group_of)


def row_numbers(rows: RowNumbers, n_rows: int, name: str) -> IntArray:
    """Return `rows` sorted and unique, as int64; raise ValueError as in `check_rows`."""
    array = rows if isinstance(rows, np.ndarray) else np.asarray(list(rows))
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be a list of row numbers, not {array.dtype} of shape {array.shape}")
    outside = array[(array < 0) | (array >= n_rows)]
    if len(outside):
        raise ValueError(f"{name} names row {outside[0]}, the rows are 0 to {n_rows - 1}")
    return np.unique(array).astype(np.int64)


def _usable(values: FloatArray) -> BoolArray:
    return np.abs(values) <= LARGEST  # False for NaN
