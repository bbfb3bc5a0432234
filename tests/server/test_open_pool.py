"""A pool in PostgreSQL: which servers may share it, and a real server that loses and regains it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa
from filelock import FileLock

from benchmarks.server_process import Server
from pool.database.state import State
from server import open_pool as opening
from server.config import ConfigError
from server.open_pool import open_state, trains_now
from tests.postgres import PASSWORD, Cluster


def without_password(url: str) -> str:
    full = sa.make_url(url)
    return sa.URL.create(
        "postgresql", full.username, None, full.host, full.port, full.database
    ).render_as_string()


def test_a_lone_server_refuses_another_and_several_refuse_a_lone_one(
    tmp_path: Path, postgresql: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_LOCK_TIMEOUT", 0.3)
    url = postgresql.new_database()

    def start(several: bool) -> tuple[State, Callable[[], None]]:
        state, held = open_state(tmp_path, url, in_server=True, several=several)
        return state, held.close

    _, stop = start(several=False)
    for several in (True, False):
        with pytest.raises(ConfigError, match="database of its own") as caught:
            start(several)
        assert PASSWORD not in str(caught.value)
    open_state(tmp_path, url, in_server=False, several=False)  # a child of the server
    stop()
    both = [start(several=True) for _ in range(2)]
    with pytest.raises(ConfigError, match="another server"):
        start(several=False)
    for _, stop in both:
        stop()
    start(several=False)[1]()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.set(password="wrong-secret"), "authentication failed"),
        (lambda url: url.set(database="none"), '"none" does not exist'),
        (lambda url: url.set(port=1), "Can't create a connection"),
        (lambda url: url.set(drivername="mysql"), "not a PostgreSQL database"),
        (lambda url: url.set(drivername="postgresql+asyncpg"), "driver 'asyncpg' is not installed"),
        (lambda url: url.set(drivername="postgresql+nothing"), "Can't load plugin"),
    ],
)
def test_a_database_that_cannot_be_opened_stops_the_start(
    tmp_path: Path, postgresql: Cluster, change: Callable[[sa.URL], sa.URL], says: str
) -> None:
    url = change(sa.make_url(postgresql.new_database())).render_as_string(hide_password=False)
    with pytest.raises(ConfigError, match=says) as caught:
        open_state(tmp_path, url, in_server=True, several=False)
    said = str(caught.value)
    assert said.startswith("--conf database: ") and PASSWORD not in said and "secret" not in said


def test_a_training_of_another_server_is_noticed(tmp_path: Path) -> None:
    assert not trains_now(tmp_path)
    with FileLock(tmp_path / "training.lock"):
        assert trains_now(tmp_path)
    assert not trains_now(tmp_path)


def test_a_server_loses_its_database_and_finds_it_again(
    phantoms: Path,
    start: Callable[..., Server],
    postgresql: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    studies, url = tmp_path / "studies", without_password(postgresql.new_database())
    shutil.copytree(phantoms / "studies", studies)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    server = start(studies, tmp_path / "state", database=url, prepared=True)
    ask = f"{server.url}/activelearning/auto"
    given = requests.post(ask, json={"client_id": "ann"}, timeout=60)
    assert given.status_code == 200 and not (tmp_path / "state" / "pool.db").exists()
    postgresql.stop()
    try:
        answers = [requests.post(ask, json={}, timeout=60)]
        answers += [requests.get(server.url + path, timeout=60) for path in ("/selection/status", "/info/")]
        answers += [requests.get(f"{server.url}/selection/{p}", timeout=60) for p in ("ledger", "handouts")]
    finally:
        postgresql.start()
    for answer in answers:
        assert answer.status_code == 503 and "Start it, then ask again" in answer.json()["detail"]
    again = requests.post(ask, json={"client_id": "ann", "resume": True}, timeout=60)
    assert again.status_code == 200 and again.json()["id"] == given.json()["id"], "the lease was kept"
    log = server.log.read_text()
    assert "database: postgresql+pg8000://pool" in log
    for text in (log, *(answer.text for answer in answers)):
        assert PASSWORD not in text and "p%40ss" not in text
