"""Loops compiled by numba, which is slow to import: only used from functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(nogil: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called, and keep the result on disk for the next process.

    Compiling takes seconds. Numba keeps the result beside the source, or else in the user's folder for
    caches; where it can write to neither, each process compiles anew. A changed file is compiled again, so
    what a function calls must be in its own file. Without fastmath: every machine sums in the order written.

    :param nogil: let other threads run meanwhile
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(function, nogil=nogil, error_model="numpy", cache=True)
        except RuntimeError:  # no folder for the cache
            return numba.njit(function, nogil=nogil, error_model="numpy")

    return decorate
