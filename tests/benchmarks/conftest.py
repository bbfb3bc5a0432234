"""What benchmarks set for their own process, given back to the tests that come after."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def own_process() -> Iterator[None]:
    """Threads and log level as they were."""
    threads, level = torch.get_num_threads(), logging.root.manager.disable
    yield
    torch.set_num_threads(threads)
    logging.disable(level)
