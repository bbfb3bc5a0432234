"""Run passes over images on all nodes of a Ray cluster (`engine: ray`; see `docs/how-to/cluster.md`)."""

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
from strategies.engine.workers import Done, Worker

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
_START = (
    "start it with `ray start --head`, and this machine as one of its nodes, with the same RAY_AUTH_MODE and "
    "token (docs/how-to/cluster.md)"
)


class RayEngine:
    """Runs workers on a Ray cluster.

    :param address: host:port of the cluster, of which this machine is a node; "": one of this machine alone,
        for the length of a pass
    :param shared: where the nodes find the images, see `remote.Order`
    """

    def __init__(self, address: str = "", shared: str = "") -> None:
        self._address, self._shared = address, shared

    def __call__(self, make_worker: Callable[[], Worker], batches: Iterable[Batch]) -> Iterator[list[Done]]:
        """What workers find, batch by batch, in any order.

        :param make_worker: a `partial` of a class of workers, none of its arguments by name

        Raises what making a worker or its `look` raises, and RuntimeError when no node can work.
        """
        if not isinstance(make_worker, partial) or make_worker.keywords:
            raise TypeError(f"expected a partial of a class of workers, no argument named: {make_worker!r}")
        self._connect()
        try:
            yield from Run(make_worker, batches, self._shared).results()
        finally:
            ray.shutdown()  # and with it a cluster of this machine alone

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"logging_level": logging.WARNING}
        if not self._address:
            ray.init("local", include_dashboard=False, **quiet)
            return
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=10).close()  # Ray itself tries for minutes
            ray.init(self._address, **quiet)
        except (OSError, RuntimeError, RayError) as error:
            raise RuntimeError(f"--conf ray_address {self._address}: {error}; {_START}") from error
