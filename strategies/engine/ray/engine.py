"""Engine that runs a pass over images on all nodes of a Ray cluster (`docs/how-to/cluster.md`)."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from strategies.engine.local import Batch
from strategies.engine.ray.run import Run
from strategies.engine.worker import Done, Worker

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports to Ray's developers
_HINT = (
    "start it with `ray start --head`, and this machine as one of its nodes, with the same RAY_AUTH_MODE and "
    "token (docs/how-to/cluster.md)"
)


class RayEngine:
    """Runs workers on a Ray cluster.

    :param address: host:port of the cluster, which this machine is a node of; "": a temporary cluster of
        this machine alone, for each pass
    :param shared: where the nodes find the images, see `remote.Order`
    """

    def __init__(self, address: str = "", shared: str = "") -> None:
        self._address, self._shared = address, shared

    def __call__(self, make_worker: Callable[[], Worker], batches: Iterable[Batch]) -> Iterator[list[Done]]:
        """Yield the workers' results batch by batch, in any order.

        :param make_worker: a `partial` of a worker class, with positional arguments only

        Raises what creating a worker or its `look` raises, and RuntimeError when no node can work.
        """
        if not isinstance(make_worker, partial) or make_worker.keywords:
            raise TypeError(
                f"expected a partial of a worker class with positional arguments only: {make_worker!r}"
            )
        self._connect()
        try:
            yield from Run(make_worker, batches, self._shared).results()
        finally:
            ray.shutdown()  # also stops a temporary cluster

    def _connect(self) -> None:
        options: dict[str, Any] = {"logging_level": logging.WARNING}
        if not self._address:
            ray.init("local", include_dashboard=False, **options)
            return
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=10).close()  # Ray retries for minutes
            ray.init(self._address, **options)
        except (OSError, RuntimeError, RayError) as error:
            raise RuntimeError(f"--conf ray_address {self._address}: {error}; {_HINT}") from error
