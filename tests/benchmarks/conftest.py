"""Restore process-wide settings that benchmarks change, so that later tests are not affected."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def own_process() -> Iterator[None]:
    """Restore the number of threads and the log level after the test."""
    threads, level = torch.get_num_threads(), logging.root.manager.disable
    yield
    torch.set_num_threads(threads)
    logging.disable(level)
