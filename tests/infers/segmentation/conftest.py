"""Pools for predictions that are saved as labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pool.datastore.store import PoolDatastore


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[dict[str, int]], PoolDatastore]]:
    """Opens a pool with labels: opened(labels)."""
    (tmp_path / "studies").mkdir()
    stores: list[PoolDatastore] = []

    def pool(labels: dict[str, int]) -> PoolDatastore:
        stores.append(PoolDatastore(str(tmp_path / "studies"), labels))
        return stores[-1]

    yield pool
    for store in stores:
        store.close()
