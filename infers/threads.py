"""Threads of numerical libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits  # comes with scikit-learn; BLAS and OpenMP have no common switch


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: small products are slower in several, on a busy machine a hundred times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
