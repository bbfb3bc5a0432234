"""Checks of methods on drawn pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

T = TypeVar("T")
TRAINED = {"usl_t", "vaal"}  # each call trains for a tenth of a second and more


def for_drawn(
    name: str, long: bool, count: int, values: st.SearchStrategy[T], check: Callable[[T], None]
) -> None:
    """Run a check of a method on `count` drawn values.

    If each call trains, it runs on a fifth of them in the short form.
    """
    is_slow = name in TRAINED and not long

    @settings(max_examples=count // 5 if is_slow else count, deadline=None)
    @given(values)
    def checked(value: T) -> None:
        check(value)

    checked()
