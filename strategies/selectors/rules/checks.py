"""The input checks that all selectors share. Each refuses with a ValueError that names row or value."""

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

# The square of a larger number, summed over rows and columns, may overflow: distances would become inf.
LARGEST = 1e100


@dataclass(frozen=True, eq=False)
class Rows:
    """Who is who in one call: sorted row numbers, without repetition.

    `unlabelled` are all rows that are not labelled (the pool that scores are normalised over);
    `candidates` are those of them that may be picked. `groups` holds for each of all rows the number of its
    group, from 0 on.
    """

    labelled: IntArray
    unlabelled: IntArray
    candidates: IntArray
    groups: IntArray


def check_points(points: npt.ArrayLike) -> FloatArray:
    """`points` as a C-ordered float64 array (N, D); an empty list is (0, 2).

    Raises:
        ValueError: not two-dimensional, without columns, or a row with NaN, inf or a value beyond 1e100.
    """
    array = np.ascontiguousarray(points, dtype=np.float64)
    if array.size == 0 and array.shape[0] == 0:
        return np.zeros((0, array.shape[1] if array.ndim == 2 and array.shape[1] else 2))
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"points must have shape (rows, columns), not {array.shape}")
    # min and max propagate NaN, and unlike a comparison of the whole array they need no copy of its size
    if not (array.min() >= -LARGEST and array.max() <= LARGEST):
        row = next(row for row in range(len(array)) if not _usable(array[row]).all())
        value = array[row][~_usable(array[row])][0]
        raise ValueError(f"points row {row} holds {value}; every value must be finite and within 1e100")
    return array


def check_entropy(
    entropy: npt.ArrayLike, unlabelled: IntArray, n_rows: int, name: str = "entropy"
) -> FloatArray:
    """`entropy`, or another number per row, as float64 (N,); values of labelled rows are not looked at.

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


def check_alpha(alpha: float) -> float:
    """`alpha` as a float in [0, 1]; ValueError otherwise, NaN included."""
    value = float(alpha)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"alpha must lie in [0, 1], not {value}")
    return value


def check_budget(budget: int) -> int:
    """`budget` as an int of at least 0; ValueError when negative, TypeError when it is no integer."""
    value = operator.index(budget)
    if value < 0:
        raise ValueError(f"budget must not be negative, it is {value}")
    return value


def check_labels(labels: npt.ArrayLike, n_rows: int) -> IntArray:
    """`labels` as int64 (N,); ValueError when they are no integers or not one per row."""
    array = np.asarray(labels)
    if array.shape != (n_rows,):
        raise ValueError(f"labels must have one value per row: shape ({n_rows},), not {array.shape}")
    if n_rows and array.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, not {array.dtype}")
    return array.astype(np.int64)


def check_groups(groups: Groups | None, n_rows: int) -> IntArray:
    """Number of each row's group, from 0 on, as int64 (N,); None makes each row a group of its own.

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
    """Split rows 0 .. n_rows-1. Labelled rows are never candidates, also when both name them.

    Raises:
        ValueError: a row number that is no integer, negative, or not below `n_rows`; groups that
            `check_groups` refuses.
    """
    group_of = check_groups(groups, n_rows)
    known = row_numbers(labelled, n_rows, "labelled")
    unlabelled = np.setdiff1d(np.arange(n_rows, dtype=np.int64), known, assume_unique=True)
    if candidates is None:
        return Rows(known, unlabelled, unlabelled, group_of)
    wanted = row_numbers(candidates, n_rows, "candidates")
    return Rows(known, unlabelled, np.intersect1d(unlabelled, wanted, assume_unique=True), group_of)


def row_numbers(rows: RowNumbers, n_rows: int, name: str) -> IntArray:
    """`rows` sorted and without repetition, as int64; ValueError as in `check_rows`."""
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
