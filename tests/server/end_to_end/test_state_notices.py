"""A state that is damaged, replaced or gone is noticed, and no label is lost with it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from PIL import Image

from benchmarks.server_process import Server
from bundle_configs import Bundle
from pool.backup.archive import Reader
from pool.backup.regular import backups_of, made_of, make_backup, seconds_of
from pool.backup.restore import restore
from pool.database.database import Busy
from pool.database.state import State
from pool.datastore import PoolDatastore
from server.recovery import complete_ledger
from tests import postgres
from tests.server.polling import status, until

Start = Callable[..., Server]


class Pool:
    """A pool whose server is started again and again."""

    def __init__(self, folder: Path, labels: Path, start: Start) -> None:
        self.studies, self.state = folder / "studies", folder / "state"
        self.labels, self.begin = labels, start

    def start(self, **conf: object) -> Server:
        return self.begin(self.studies, self.state, **conf)

    def give(self, server: Server, who: str = "ann") -> requests.Response:
        return requests.post(f"{server.url}/activelearning/auto", json={"client_id": who}, timeout=60)

    def save(self, server: Server, image: str, drawn: Path | None = None) -> requests.Response:
        with open(drawn or self.labels / f"{image}.png", "rb") as file:
            at = {"image": image}
            form = {"params": '{"client_id": "ann"}'}
            url = f"{server.url}/datastore/label"
            return requests.put(url, params=at, data=form, files={"label": file}, timeout=60)

    def label_next(self, server: Server) -> str:
        image = str(self.give(server).json()["id"])
        assert self.save(server, image).status_code == 200
        return image


def ledger(server: Server) -> list[dict[str, Any]]:
    return list(requests.get(f"{server.url}/selection/ledger", timeout=60).json())


def labels_in_ledger(server: Server) -> dict[str, dict[str, Any]]:
    return {entry["image"]: entry["details"] for entry in ledger(server) if entry["event"] == "label"}


def is_backed_up(pool: Pool, server: Server) -> bool:
    """Return whether the newest backup has the whole ledger."""
    made = backups_of(pool.state)
    return bool(made) and made_of(made[-1]).entries == len(ledger(server))


@pytest.fixture(scope="module")
def pool(phantoms: Path, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("notices")
    shutil.copytree(phantoms / "studies", folder / "studies")
    return Pool(folder, phantoms / "labels", start)


def test_a_state_that_is_damaged_or_gone_costs_no_label(pool: Pool, tmp_path: Path) -> None:
    # backups are made by themselves, and all is in the database's own file when the server has stopped
    server = pool.start(backup_every="0.02m", backups_kept=2)
    until(lambda: status(server)["stage"] == "cold_start")
    identity = status(server)["pool"]
    saved = [pool.label_next(server)]
    until(lambda: is_backed_up(pool, server))
    saved.append(pool.label_next(server))
    server.stop()
    assert not (pool.state / "pool.db-wal").exists() or not (pool.state / "pool.db-wal").stat().st_size
    shutil.copy(pool.state / "pool.db", tmp_path / "alone.db")
    with closing(sqlite3.connect(tmp_path / "alone.db")) as database:
        rows = database.execute("SELECT image FROM ledger WHERE event = 'label' ORDER BY id").fetchall()
    assert [row[0] for row in rows] == saved
    assert 1 <= len(backups := backups_of(pool.state)) <= 2

    # a damaged database is not served: the start names a backup that is whole
    database, places = (pool.state / "pool.db").read_bytes(), random.Random(1)
    torn = bytearray(database)
    for _ in range(3000):
        torn[places.randrange(100, len(torn))] ^= 0xFF
    (pool.state / "pool.db").write_bytes(torn)
    backups[-1].with_name("pool-99990101T000000Z.tar").write_bytes(b"half a backup")
    server = pool.start(wait=False)
    assert server.process.wait(60) != 0
    last = server.log.read_text().strip().splitlines()[-1]
    assert f"{pool.state / 'pool.db'} is damaged" in last and str(backups[-1]) in last
    (backup := Reader(backups[-1])).check(lambda done: None)

    # that backup is restored: it is the same pool, with the labels of its day
    restored = Pool(tmp_path, pool.labels, pool.begin)
    restored.studies.mkdir()
    for image in pool.studies.glob("*.png"):
        shutil.copy2(image, restored.studies)
    restore(backup, restored.studies, restored.state, "", lambda done: None, lambda model: None)
    server = restored.start(backup_every="0")
    known = labels_in_ledger(server)
    assert list(known) == saved[: len(known)] and len(known) >= 1 and status(server)["pool"] == identity
    assert status(server)["labelled"] == len(known) and not any("recovered" in known[i] for i in known)
    server.stop()

    # without its database, a ledger gets the labels back that people have saved
    (pool.state / "pool.db").unlink()
    server = pool.start(backup_every="0")
    assert {image: info["client"] for image, info in labels_in_ledger(server).items()} == dict.fromkeys(
        saved, "ann"
    )
    assert all(info["recovered"] for info in labels_in_ledger(server).values())
    assert status(server)["labelled"] == 2 and "recovered" in server.log.read_text()

    # a lost journal takes the newest entries with it, and the ledger gets their labels back
    until(lambda: status(server)["stage"] == "cold_start")
    saved.append(pool.label_next(server))
    server.stop(kill=True)
    for name in ("pool.db-wal", "pool.db-shm"):
        (pool.state / name).unlink(missing_ok=True)
    server = pool.start(backup_every="0")
    assert set(labels_in_ledger(server)) == set(saved) and status(server)["labelled"] == 3
    assert labels_in_ledger(server)[saved[-1]]["recovered"]

    # a state that is moved away while the server runs, and back
    until(lambda: status(server)["stage"] == "cold_start")
    pool.state.rename(tmp_path / "away")
    assert pool.give(server).status_code == 503
    (tmp_path / "away").rename(pool.state)
    until(lambda: pool.give(server, "ben").status_code == 200)

    # back only when the server has stopped: the ledger gets the second version that was saved meanwhile
    pool.state.rename(tmp_path / "away")
    with Image.open(pool.labels / f"{saved[0]}.png") as mask:
        mask.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(tmp_path / "again.png")
    assert pool.save(server, saved[0], tmp_path / "again.png").status_code == 200
    server.stop()
    shutil.rmtree(pool.state, ignore_errors=True)
    (tmp_path / "away").rename(pool.state)
    server = pool.start(backup_every="0")
    versions = [entry for entry in ledger(server) if (entry["event"], entry["image"]) == ("label", saved[0])]
    assert len(versions) == 2 and versions[-1]["details"]["recovered"]
    until(lambda: status(server)["stage"] == "cold_start")
    drawn = str(until(lambda: pool.give(server).json().get("id")))

    # a state that goes while the server runs: nothing is handed out, but what is drawn is taken
    shutil.rmtree(pool.state)
    refused = pool.give(server, "ben")
    assert refused.status_code == 503 and "removed or replaced" in refused.json()["detail"]
    assert requests.get(f"{server.url}/selection/status", timeout=60).status_code == 503
    assert requests.get(f"{server.url}/selection/map", timeout=60).status_code == 200  # the page says it
    assert pool.save(server, drawn).status_code == 200
    server.stop()
    server = pool.start()
    assert set(labels_in_ledger(server)) == {*saved, drawn} and status(server)["labelled"] == 4


def admin(url: str, *statements: str) -> None:
    """Execute statements on the server of a PostgreSQL database, whose connections are ended for good."""
    there = sa.make_url(url)
    engine = sa.create_engine(there.set(database="postgres"), isolation_level="AUTOCOMMIT")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    with engine.connect() as connection:
        for statement in ("ALTER DATABASE {name} ALLOW_CONNECTIONS false", end, *statements):
            connection.execute(sa.text(statement.format(name=there.database)))
    engine.dispose()


def test_a_postgresql_that_is_restarted_or_replaced(
    phantoms: Path, start: Start, postgresql: postgres.Cluster, tmp_path: Path
) -> None:
    shutil.copytree(phantoms / "studies", tmp_path / "studies")
    pool, url = Pool(tmp_path, phantoms / "labels", start), postgresql.new_database()
    server = pool.start(prepared=True, database=url)
    until(lambda: status(server)["stage"] == "cold_start")
    identity, first = status(server)["pool"], pool.label_next(server)
    drawn = str(pool.give(server).json()["id"])

    # after a restart, the server holds the pool again
    postgresql.stop()
    refused = pool.give(server, "ben")
    assert refused.status_code == 503 and "Start it, then ask again" in refused.json()["detail"]
    postgresql.start()
    until(lambda: pool.give(server, "ben").status_code == 200)
    until(lambda: "this server holds the pool again" in server.log.read_text())
    with pytest.raises(Busy), State(tmp_path / "other", url=url).exclusive("server"):
        pass

    # made anew, then that of another pool: nothing is given out or written, but what is drawn is taken
    admin(url, "ALTER DATABASE {name} RENAME TO {name}_away", "CREATE DATABASE {name}")
    until(lambda: "removed or replaced" in pool.give(server, "cyd").text)
    another = State(tmp_path / "another", migrate=True, url=url)
    refused = pool.give(server, "cyd")
    assert refused.status_code == 503 and "put the pool's own database back" in refused.json()["detail"]
    assert pool.save(server, drawn).status_code == 200
    assert another.ledger.entries() == [] and another.pool_id() != identity

    # its own again: the server goes on, and the ledger gets what was drawn
    back = ("ALTER DATABASE {name}_away RENAME TO {name}", "ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    admin(url, "DROP DATABASE {name}", *back)
    until(lambda: pool.give(server, "cyd").status_code == 200)
    until(lambda: set(labels_in_ledger(server)) == {first, drawn})
    assert status(server)["pool"] == identity and status(server)["labelled"] == 2


@pytest.mark.parametrize(
    ("known", "recovered"), [({}, 0), ({"digest": "same"}, 0), ({"digest": ""}, 1), ({"digest": "other"}, 1)]
)
def test_a_ledger_that_knows_an_earlier_label_gets_the_newest(
    phantoms: Path, tmp_path: Path, known: dict[str, str], recovered: int
) -> None:
    """An earlier one without a digest was saved by a former version; that of an empty label is ""."""
    (tmp_path / "studies").mkdir()
    shutil.copy(phantoms / "studies" / "phantom_000.png", tmp_path / "studies")
    store = PoolDatastore(str(tmp_path / "studies"), Bundle("cxr_lungs").get("labels"))
    label = str(phantoms / "labels" / "phantom_000.png")
    store.save_label("phantom_000", label, "final", {"client_id": "ann"})
    if known.get("digest") == "same":
        known = {"digest": store.get_label_info("phantom_000", "final")["digest"]}
    state = State(tmp_path / "state", migrate=True)
    state.handouts.labelled("phantom_000", "ann", known)
    assert [complete_ledger(state, store) for _ in range(2)] == [recovered, 0]
    store.close()


def test_backups_stay_in_order_when_the_clock_is_set_back(tmp_path: Path) -> None:
    state = State(tmp_path, migrate=True)
    future = tmp_path / "backups" / "pool-20990101T000000Z.tar"
    make_backup(None, tmp_path, "", 1).rename(future)
    own = future.with_name("pool-of-mine.tar")
    own.write_bytes(b"")
    state.ledger.add("event")
    newest = make_backup(None, tmp_path, "", 1)
    assert backups_of(tmp_path) == [newest] and own.exists()
    assert newest.name == "pool-20990101T000001Z.tar" and made_of(newest).entries == 1


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86400), ("1.5d", 129600), ("30m", 1800), ("0", 0)])
def test_times_between_backups(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "0h", "1w"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="30m, 24h or 7d"):
        seconds_of(text)
