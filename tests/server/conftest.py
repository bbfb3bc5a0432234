"""Real servers on small phantom pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from benchmarks.phantoms.generate import generate
from benchmarks.server_process import Server
from tests.forked import prepare

TINY = {
    "epochs": 2,
    "image_size": 64,
    "channels": "[4,8,16]",
    "cold_start_budget": 4,
    "batch_size": 2,
    "instant": False,  # learnt after each label by those who look at it, and in the long form
}


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make 16 small radiographs in `studies`, with masks in `labels`; copy them before changing anything."""
    folder = tmp_path_factory.mktemp("phantoms")
    generate(folder, count=16, seed=1, size=128)
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, long: bool) -> Iterator[Callable[..., Server]]:
    """Starts servers, and stops them after the module: start(studies, state, env=..., host=..., **conf).

    With `prepared=True` the pool is refreshed before, so that this server need not do it. In the long form
    there is an instant model unless `instant=False` is given.
    """
    started: list[Server] = []

    def begin(
        studies: Path,
        state: Path,
        wait: bool = True,
        env: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        prepared: bool = False,
        **conf: object,
    ) -> Server:
        conf = TINY | {"instant": long, "state": state} | conf
        if prepared:
            prepare("cxr_lungs", studies, state, conf)
        log = tmp_path_factory.mktemp("log") / "server.log"
        server = Server("cxr_lungs", studies, conf, log, env=env, host=host)
        started.append(server)
        if wait:
            server.wait()
        return server

    yield begin
    for server in started:
        server.stop()
