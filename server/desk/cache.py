"""A cache of arrays that is bounded in bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from cachetools import LRUCache

T = TypeVar("T")


class ByteCache(Generic[T]):
    """Keeps the values used last; thread-safe.

    :param size: returns the bytes of a value; one that is larger than `max_bytes` is not kept
    """

    def __init__(self, max_bytes: int, size: Callable[[T], int]) -> None:
        self._cache: LRUCache[Hashable, T] = LRUCache(max_bytes, getsizeof=size)
        self._max_bytes, self._size, self._lock = max_bytes, size, threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """Return a value that is still here, or None."""
        with self._lock:
            return self._cache.get(key)

    def put(self, key: Hashable, value: T) -> T:
        """Keep a value, if it is not too large; return it."""
        if self._size(value) <= self._max_bytes:
            with self._lock:
                self._cache[key] = value
        return value
