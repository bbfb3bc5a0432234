"""A step of the refresh: what is to do, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from bundle_configs import Bundle
from strategies.context import Context
from strategies.engine.image_pass import ImagePass
from strategies.snapshot import PoolSnapshot


class Step(NamedTuple):
    """One step.

    :ivar name: its name in the log and in the answer of a refresh; "" for the names in `todo` themselves
    :ivar todo: returns what is to do on a snapshot, as images or other names; empty when nothing is
    :ivar run: does what is to do when it is called, since earlier steps have changed the pool
    """

    name: str
    todo: Callable[[Context, PoolSnapshot], Collection[str]]
    run: Callable[[ImagePass, Bundle], None]
