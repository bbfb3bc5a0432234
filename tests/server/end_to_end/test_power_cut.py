"""What people did is on the disk when they are told so: the power may fail at any moment."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import requests

from benchmarks.server_process import Server
from tests.server.end_to_end.test_state_notices import Pool
from tests.server.polling import status, until


def test_a_label_and_a_skip_survive_a_power_cut(
    phantoms: Path, start: Callable[..., Server], mounted: Callable[..., None], tmp_path: Path
) -> None:
    """Copy the disk under a running server: it then has what was synced, and nothing of the caches."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    with open(disk, "wb") as file:
        file.truncate(64 << 20)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    for name in ("running", "restored"):
        (tmp_path / name).mkdir()
    mounted("-o", "loop,commit=300", str(disk), str(tmp_path / "running"))
    shutil.copytree(phantoms / "studies", tmp_path / "running" / "studies")
    pool = Pool(tmp_path / "running", phantoms / "labels", start)
    server = pool.start(prepared=True, backup_every="0")
    until(lambda: status(server)["stage"] == "cold_start")
    subprocess.run(["sync", "-f", tmp_path / "running"], check=True)

    labelled = pool.label_next(server)
    skipped = str(pool.give(server, "ben").json()["id"])
    skip = {"client_id": "ben", "skip": skipped, "reason": "blurred"}
    assert requests.post(f"{server.url}/activelearning/auto", json=skip, timeout=60).status_code == 200
    shutil.copy(disk, copy)

    mounted("-o", "loop", str(copy), str(tmp_path / "restored"))
    restored = tmp_path / "restored"
    true = (phantoms / "labels" / f"{labelled}.png").read_bytes()
    assert (restored / "studies" / "labels" / "final" / f"{labelled}.png").read_bytes() == true
    with closing(sqlite3.connect(restored / "state" / "pool.db")) as database:
        query = "SELECT image, details FROM ledger WHERE event = ?"
        [(image, details)] = database.execute(query, ("label",)).fetchall()
        assert (image, json.loads(details)["client"]) == (labelled, "ann")
        assert database.execute("SELECT image, reason FROM skips").fetchall() == [(skipped, "blurred")]
