"""A clock that jumps, forwards or back, costs nobody an image and no pool its backups."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from benchmarks.server_process import Server
from tests.forked import commands
from tests.options import missing_service
from tests.server.end_to_end.test_state_notices import Pool, is_backed_up, ledger
from tests.server.polling import status, until

LEASE = 4.0  # seconds


def with_clock(file: Path, config: pytest.Config) -> dict[str, str]:
    """Environment of a process whose clock is as far off as a file says; skips without libfaketime."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        missing_service(config, "no libfaketime: apt-get install faketime")
    names = ("FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        **dict.fromkeys(names, "1"),
    }


def lease_of(server: Server, image: str) -> tuple[str, float] | None:
    """Return who holds an image, and for how many seconds more."""
    held = requests.get(f"{server.url}/selection/handouts", timeout=60).json()["open"]
    return next(((row["client"], row["expires_in"]) for row in held if row["image"] == image), None)


@pytest.mark.parametrize("jumps", [("+400d", "-400d")])
def test_leases_and_backups_while_the_clock_jumps(
    jumps: tuple[str, ...],
    phantoms: Path,
    start: Callable[..., Server],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    shutil.copytree(phantoms / "studies", tmp_path / "studies")
    (clock := tmp_path / "clock").write_text("+0")
    conf = {"lease_minutes": LEASE / 60, "backup_every": "0.02m", "env": with_clock(clock, request.config)}
    pool = Pool(tmp_path, phantoms / "labels", start)
    with commands():
        server = pool.start(prepared=True, **conf)
    until(lambda: status(server)["stage"] == "cold_start")
    pool.label_next(server)
    until(lambda: is_backed_up(pool, server))
    for jump in jumps:
        image, given = str(pool.give(server, f"before {jump}").json()["id"]), time.monotonic()
        clock.write_text(jump)
        lease = lease_of(server, image)
        assert lease is not None and lease[0] == f"before {jump}" and 0 < lease[1] <= LEASE
        assert pool.give(server, f"after {jump}").json()["id"] != image
        until(lambda: lease_of(server, image) is None)  # noqa: B023
        assert LEASE - 1 < time.monotonic() - given < LEASE + 4
        pool.label_next(server)
        until(lambda: is_backed_up(pool, server))
    events = ledger(server)
    off = [round((entry["created"] - time.time()) / 86400) for entry in events if entry["event"] == "label"]
    assert off == [0, 400, -400], "in the order of what happened, by the clock of the machine"
