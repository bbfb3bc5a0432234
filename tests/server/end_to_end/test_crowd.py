"""Many annotators at once, with kills: the short form of `python -m benchmarks.load.crowd`."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.load.crowd import run_crowd
from benchmarks.phantoms.generate import generate
from benchmarks.server_process import Server
from tests import forked, postgres
from tests.reset_proxy import resetting


@pytest.mark.timeout(1200)
def test_handouts_to_32_annotators(tmp_path: Path, long: bool) -> None:
    """Hand out 1,000 times; 120 times in the short form."""
    handouts = 1000 if long else 120
    generate(tmp_path, count=400 if long else 120, seed=1, size=64)
    report = run_crowd(tmp_path, clients=32, handouts=handouts, kills=0, chance=random.Random(1))
    assert report["wrong"] == [] and report["handouts"] >= handouts and report["labels"] > handouts / 20


@pytest.mark.timeout(7200)
def test_kills_lose_nothing(tmp_path: Path, long: bool) -> None:
    """Kill 200 times, 60 of them during trainings; three times in the short form. Servers are forked."""
    kills = 200 if long else 3
    generate(tmp_path, count=200 if long else 60, seed=2, size=64)
    with forked.servers() if long else nullcontext():  # which it is already in the short form
        report = run_crowd(tmp_path, clients=4, handouts=0, kills=kills, chance=random.Random(2))
    print(report)
    assert report["wrong"] == [] and sum(report["killed"].values()) == kills
    assert min(report["killed"].values()) >= kills // 3 and report["labels"] > 0
    assert report["during_training"] >= 0.3 * kills


@pytest.mark.timeout(600)
def test_a_database_that_goes_away_under_load_loses_nothing(
    tmp_path: Path, postgresql: postgres.Cluster, long: bool
) -> None:
    """Restart PostgreSQL or reset its connections, ten times; twice in the short form."""

    def restart(server: Server) -> bool:
        postgresql.stop()
        postgresql.start()
        return True

    faults = 10 if long else 2
    generate(tmp_path, count=60, seed=3, size=64)
    url = sa.make_url(postgresql.new_database())
    with resetting(url.port or 0) as proxy:

        def reset(server: Server) -> bool:
            before = proxy.done
            proxy.reset(seconds=0.5)
            return proxy.done > before

        options = {
            "faults": {"restart": restart, "reset": reset},
            "database": url.set(port=proxy.port).render_as_string(hide_password=False),
        }
        report = run_crowd(tmp_path, 8, 100 if long else 30, faults, random.Random(3), **options)
    assert report["wrong"] == [] and report["labels"] > 0
    assert report["killed"] == {"restart": faults // 2, "reset": faults // 2}
