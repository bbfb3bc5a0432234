"""The pool's database: storage, hand-outs and migration, also across processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from pool.database import migration, schema
from pool.database.connect import connect
from pool.database.database import Busy, Database
from pool.database.duplicates import Duplicate
from pool.database.handouts import Client, LeasePolicy
from pool.database.plans import Plan
from pool.database.state import State
from pool.imaging.prints import Print
from tests.postgres import PASSWORD, Cluster


@pytest.fixture
def state(tmp_path: Path, database: str) -> State:
    return State(tmp_path / "state", migrate=True, url=database)


def plan(key: str = "k", **more: Any) -> Plan:
    values: dict[str, Any] = dict(kind="cold_start", layout=1, model=None, scored=0, details={"seed": 42})
    values |= {"picks": [{"image": "b", "score": 0.5}, {"image": "a", "score": None}]} | more
    return Plan(0, key, **values)


def test_embeddings_are_kept_per_encoder_and_replaced(state: State) -> None:
    first, second = np.arange(3, dtype=np.float32), np.full(3, 0.1, np.float32)
    state.embeddings.add("e", [("a", "1", first), ("b", "1", second)])
    state.embeddings.add("other", [("a", "1", np.zeros(5))])
    state.embeddings.add("e", [("a", "2", first + 1)])
    assert (
        state.embeddings.fingerprints("e") == {"a": "2", "b": "1"}
        and state.embeddings.fingerprints("none") == {}
    )
    found = state.embeddings.vectors("e", ["b", "a"])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.stack([second, first + 1]).astype(np.float64))
    with pytest.raises(KeyError):
        state.embeddings.vectors("e", ["a", "c"])


def test_failure_holds_until_the_image_is_embedded(state: State) -> None:
    state.failures.add("a", "1", "empty")
    state.failures.add("a", "2", "black")
    state.failures.add("b", "1", "empty")
    assert state.failures.all() == {"a": ("2", "black"), "b": ("1", "empty")}
    state.embeddings.add("e", [("a", "3", np.zeros(2))])
    assert set(state.failures.all()) == {"b"}


def test_newest_layout_of_a_key(state: State) -> None:
    assert state.maps.newest("k") is None
    points = np.random.default_rng(0).normal(size=(3, 2))
    state.maps.add("k", {"a": "1", "b": "2"}, points[:2])
    state.maps.add("k", {"b": "2", "a": "1", "c": "3"}, points)
    state.maps.add("other", {"a": "1"}, points[:1])
    found = state.maps.newest("k")
    assert found is not None and found.images == ["a", "b", "c"] and found.fingerprints == ["1", "2", "3"]
    np.testing.assert_array_equal(found.points, points[[1, 0, 2]])
    assert found.fitted == 3 and state.maps.newest("k") is found, "it is read once"
    with pytest.raises(KeyError):
        state.maps.get(99)


def test_placed_images_join_the_map_in_sorted_order(state: State, database: str) -> None:
    points = np.random.default_rng(0).normal(size=(5, 2))
    state.maps.add("k", {"b": "1", "d": "1"}, points[:2])
    state.maps.add("other", {"b": "1"}, points[:1])
    state.maps.place(1, [("c", "2", points[2]), ("a", "3", points[3])])
    for found in (state.maps.newest("k"), State(state.folder, url=database).maps.newest("k")):
        assert (
            found is not None and found.images == list("abcd") and found.fingerprints == ["3", "1", "2", "1"]
        )
        np.testing.assert_array_equal(found.points, points[[3, 0, 2, 1]])
        assert found.laid_out.tolist() == [False, True, False, True] and found.fitted == 2
    assert state.maps.get(2).images == ["b"], "the other map has none of it"
    state.maps.add("k", {"b": "1"}, points[4:])
    assert state.maps.get(3).images == ["b"] and state.maps.get(3).fitted == 1


def test_an_image_that_is_placed_again_moves_also_for_other_processes(state: State, database: str) -> None:
    points = np.random.default_rng(0).normal(size=(5, 2))
    server = State(state.folder, url=database)
    state.maps.add("k", {"a": "1", "b": "1"}, points[:2])
    state.maps.place(1, [("c", "1", points[2])])
    assert server.maps.get(1).images == ["a", "b", "c"]
    state.maps.place(1, [("c", "2", points[3])])  # as many rows as before
    np.testing.assert_array_equal(server.maps.get(1).points, points[[0, 1, 3]])
    assert server.maps.get(1).fingerprints == ["1", "1", "2"] and server.maps.get(1).fitted == 2
    state.maps.place(1, [("a", "2", points[4])])  # one that was laid out
    np.testing.assert_array_equal(server.maps.get(1).points, points[[4, 1, 3]])
    assert server.maps.get(1).fingerprints == ["2", "1", "2"] and server.maps.get(1).fitted == 1


def test_thousands_of_images_can_be_placed_at_once(state: State) -> None:
    state.maps.add("k", {"a": "1"}, np.zeros((1, 2)))
    state.maps.place(1, [(f"n{i:05d}", "1", np.array([i, 0.5])) for i in range(20_000)])
    found = state.maps.get(1)
    assert len(found.images) == 20_001 and found.points[-1].tolist() == [19_999, 0.5]


def test_models_are_rounds_and_a_known_one_returns_as_the_newest(state: State) -> None:
    for name in ("x", "y", "x"):
        state.models.add(name, ["a", "b"], {"seed": 1})
    assert [(m.fingerprint, m.round) for m in state.models.all()] == [("x", 3), ("y", 2)]
    assert state.models.all()[0].labelled == ["a", "b"] and state.models.all()[0].details == {"seed": 1}


def test_entropies_are_kept_per_model_and_replaced(state: State) -> None:
    state.scores.add_entropies("m", {"a": 0.25, "b": 0.5})
    state.scores.add_entropies("m", {"b": 0.75})
    state.scores.add_entropies("n", {"a": 1.0})
    assert state.scores.entropies("m") == {"a": 0.25, "b": 0.75} and state.scores.entropies("none") == {}


def test_newest_plan_of_a_key(state: State) -> None:
    assert state.plans.newest("k") is None
    first, second = state.plans.add(plan()), state.plans.add(plan(scored=8, model="m"))
    assert first.id != second.id and state.plans.newest("k") == second and second.model == "m"
    assert second.picks == plan().picks and second.details == {"seed": 42}


def test_ledger_only_grows(state: State) -> None:
    steps = [
        lambda: state.plans.add(plan()),
        lambda: state.handouts.give(
            Client("me"), "p", ["a"], lambda image: True, lambda image: {"stage": "cold_start"}, LeasePolicy()
        ),
        lambda: state.failures.add("a", "1", "empty"),
        lambda: state.models.add("m", ["a"], {"seed": 7}),
        lambda: state.maps.add("k", {"a": "1"}, np.zeros((1, 2)), "grown"),
        lambda: state.maps.place(1, [("b", "1", np.zeros(2))]),
        lambda: state.trainings.start({"model": "segmentation"}),
        lambda: state.trainings.end("done"),
        lambda: state.ledger.add("label", "a", {"label": "a"}),
    ]
    before: list[dict[str, Any]] = []
    for step in steps:
        step()
        now = state.ledger.entries()
        assert now[: len(before)] == before and len(now) == len(before) + 1
        before = now
    events = ["plan", "handout", "failed", "model", "map", "placed", "training", "training_ended", "label"]
    assert [entry["event"] for entry in before] == events
    assert before[0]["details"]["picks"] == plan().picks
    assert before[4]["details"] == {"key": "k", "images": 1, "reason": "grown"}
    assert before[5]["details"] == {"layout": 1, "images": 1}
    assert before[1]["image"] == "a"
    facts = before[1]["details"]
    assert (facts["source"], facts["client"]) == ("p", "me") and facts["selection"] == {"stage": "cold_start"}


def test_progress_is_one_row(state: State) -> None:
    assert state.progress.get() is None
    state.progress.set("embedding", 1, 8, 5.0)
    state.progress.set("failed", 0, 0, 6.0, error="no weights")
    found = state.progress.get()
    assert found is not None and (found["step"], found["done"], found["error"]) == ("failed", 0, "no weights")


def test_open_training_outlives_the_process(state: State, database: str) -> None:
    assert state.trainings.newest_open() is None
    assert state.trainings.start({"max_epochs": 2}) == 1
    refused = state.trainings.start({"max_epochs": 3})
    state.trainings.end("refused", refused)
    assert State(state.folder, url=database).trainings.newest_open() == (1, {"max_epochs": 2})
    state.trainings.end("done")
    assert State(state.folder, url=database).trainings.newest_open() is None


def test_readers_do_not_wait_for_a_writer(state: State, database: str) -> None:
    state.scores.add_entropies("m", {"a": 0.5})
    state.plans.add(plan())
    with state.ledger._db.begin() as writer:  # holds the write lock
        writer.execute(sa.insert(schema.entropies).values(model="m", image="b", value=0.7))
        with pytest.raises(sa.exc.DBAPIError, match="lock"):
            write_at_once(state, database)
        reader = State(state.folder, url=database)
        assert reader.scores.entropies("m") == {"a": 0.5}, "what was committed, not what is being written"
        assert (
            reader.plans.newest("k") is not None and reader.handouts.open() == [] and reader.ledger.entries()
        )
    assert reader.scores.entropies("m") == {"a": 0.5, "b": 0.7}


def write_at_once(state: State, database: str) -> None:
    """Begin a write like any other process, but without waiting for the present writer."""
    if database:
        with connect(state.folder, database).connect() as other:
            other.execute(sa.select(schema.clock).with_for_update(nowait=True))
    else:
        probe = sa.create_engine(f"sqlite:///{state.folder / 'pool.db'}", connect_args={"timeout": 0})
        with probe.connect() as other:
            other.exec_driver_sql("BEGIN IMMEDIATE")


def test_new_database_is_stamped_and_reopened_with_its_content(state: State, database: str) -> None:
    state.models.add("m", [], {})
    again = State(state.folder, migrate=True, url=database)
    assert [m.fingerprint for m in again.models.all()] == ["m"]
    with again.ledger._db.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [
            (migration.newest_revision(),)
        ]


def test_a_server_killed_before_the_stamp_leaves_a_database_that_opens(tmp_path: Path, database: str) -> None:
    schema.metadata.create_all(connect(tmp_path / "pool.db", database))
    State(tmp_path, migrate=True, url=database).marks.put("next", ["a"], "lead")
    State(tmp_path, migrate=True, url=database).models.add("m", [], {})


def test_older_database_is_upgraded(
    state: State, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.models.add("m", ["a"], {"seed": 1})
    state.embeddings.add("e", [("a", "1", np.ones(3))])
    ann = Client("ann")
    terms = ("p", ["a"], lambda i: True, lambda i: {}, LeasePolicy())
    state.handouts.give(ann, *terms)
    state.handouts.release("a", ann)
    state.handouts.give(ann, *terms)  # a second row of one image, which is open
    (before,), entries = state.models.all(), state.ledger.entries()
    newer, newest = tmp_path / "newer", migration.newest_revision()
    shutil.copytree(Path(migration.__file__).parent / "migrations", newer / "migrations")
    (newer / "migrations" / "versions" / "9999_next.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = '9999', '{newest}'\n"
        "def upgrade():\n    op.add_column('models', sa.Column('note', sa.String))\n"
    )
    monkeypatch.setattr(migration, "_MIGRATIONS", newer / "migrations")
    again = State(state.folder, migrate=True, url=database)
    with again.ledger._db.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [("9999",)]
        assert connection.exec_driver_sql("SELECT fingerprint, note FROM models").all() == [("m", None)]
    monkeypatch.undo()
    (tmp_path / "former").mkdir()
    shutil.copy(state.folder / "pool.db.before-9999", tmp_path / "former" / "pool.db")
    former = State(tmp_path / "former", migrate=True)
    assert former.models.all() == [before] and former.ledger.entries() == entries, "the way back"
    assert former.embeddings.vectors("e", ["a"]).tolist() == [[1, 1, 1]]
    assert [(h.id, h.image, h.client) for h in former.handouts.open()] == [(2, "a", "ann")]
    if not database:  # an exact copy: two people still cannot hold one image
        with former.ledger._db.engine.connect() as connection:
            indexes = {index["name"] for index in sa.inspect(connection).get_indexes("handouts")}
        assert "one_open_handout" in indexes
    assert not list((tmp_path / "former").glob("pool.db.before-*")), "it is no older one"


def test_a_copy_that_a_killed_migration_left_is_kept(
    state: State, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state.folder / f"pool.db.before-{migration.newest_revision()}").write_bytes(b"the first")
    with state.ledger._db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0006'")
        later = (
            "choices",
            "label_checks",
            "heads",
            "readers",
            "drafts",
            "predictions",
            "reopened",
            "identity",
        )
        for table in later:
            connection.exec_driver_sql(f"DROP TABLE {table}")
    State(state.folder, migrate=True, url=database)
    assert [file.read_bytes() for file in state.folder.glob("pool.db.before-*")] == [b"the first"]


def test_a_database_from_before_leases_keeps_its_history(tmp_path: Path, database: str) -> None:
    number = "SERIAL PRIMARY KEY" if database else "INTEGER PRIMARY KEY"
    with connect(tmp_path / "pool.db", database).begin() as connection:
        for line in (  # what revision 0001 had of the tables that changed since
            f"CREATE TABLE handouts (id {number}, image VARCHAR NOT NULL, "
            "list VARCHAR NOT NULL, client VARCHAR NOT NULL, created FLOAT NOT NULL)",
            f"CREATE TABLE ledger (id {number}, created FLOAT, event VARCHAR, image VARCHAR, details JSON)",
            f"CREATE TABLE trainings (id {number}, request JSON NOT NULL, "
            "running BOOLEAN NOT NULL, outcome VARCHAR, created FLOAT NOT NULL)",
            "CREATE TABLE failures (image VARCHAR PRIMARY KEY, fingerprint VARCHAR, reason VARCHAR)",
            "INSERT INTO handouts (image, list, client, created) VALUES ('a', 'p', 'me', 5.0)",
            "INSERT INTO ledger (created, event, image, details) VALUES (5.0, 'handout', 'a', '{}')",
            "INSERT INTO trainings (request, running, created) "
            'VALUES (\'{"model": "segmentation"}\', TRUE, 5.0)',
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
            "INSERT INTO alembic_version VALUES ('0001')",
        ):
            connection.exec_driver_sql(line)
    state = State(tmp_path, migrate=True, url=database)
    assert [entry["event"] for entry in state.ledger.entries()] == ["handout"]
    assert state.handouts.open() == [] and state.handouts.skipped() == {}
    assert state.trainings.newest_open() == (1, {"model": "segmentation"})
    given = state.handouts.give(Client("me"), "p", ["a"], lambda i: True, lambda i: {}, LeasePolicy())
    assert given is not None and given.image == "a", "the old hand-out is closed"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_numbers_that_json_does_not_know(state: State, value: float) -> None:
    state.models.add("m", [], {"metrics": {"loss": value, "dice": [0.1, value]}, "seed": 2**40})
    assert state.models.all()[0].details == {"metrics": {"loss": None, "dice": [0.1, None]}, "seed": 2**40}


def test_numbers_come_back_as_they_were(state: State) -> None:
    numbers = {"a": 0.1 + 0.2, "b": 1 / 3, "c": 5e-324, "d": 1.7976931348623157e308}
    state.scores.add_entropies("m", numbers)
    state.ledger.add("numbers", details=numbers)
    assert state.scores.entropies("m") == numbers and state.ledger.entries()[-1]["details"] == numbers


def test_one_holder_of_a_lock_at_a_time(state: State, database: str) -> None:
    other = State(state.folder, url=database)
    for _ in range(2):  # it is free after the block, also when that failed
        with pytest.raises(KeyError), state.exclusive("refresh"):
            with pytest.raises(Busy, match="refresh"), other.exclusive("refresh"):
                pass
            with other.exclusive("another"):
                pass
            raise KeyError
    with other.exclusive("refresh"):
        pass


def test_a_lock_ends_with_its_process(state: State, database: str) -> None:
    script = (
        "import sys; from pathlib import Path; "
        "from pool.database.state import State\n"
        "with State(Path(sys.argv[1]), url=sys.argv[2]).exclusive('refresh'):\n"
        "    print('held', flush=True); input()\n"
    )
    command = [sys.executable, "-c", script, str(state.folder), database]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(Busy), state.exclusive("refresh"):
            pass
        holder.kill()
    with state.exclusive("refresh", timeout=30):
        pass


def test_processes_that_start_and_write_at_once_lose_nothing(tmp_path: Path, database: str) -> None:
    """Each process opens the new database, writes the same rows as the others, and adds its own model."""
    script = (
        "import sys; from pathlib import Path; import numpy as np; "
        "from pool.database.state import State\n"
        "me, images = sys.argv[3], [f'i{n:02d}' for n in range(20)]\n"
        "input()\n"
        "state = State(Path(sys.argv[1]), migrate=True, url=sys.argv[2])\n"
        "for n in range(10):\n"
        "    order = images if me == '0' else images[::-1]\n"
        "    state.embeddings.add('e', [(i, 'mark', np.full(3, 7.0)) for i in order])\n"
        "    state.models.add(f'{me}-{n}', images, {'by': me})\n"
        "    state.models.add('both', images, {})\n"
        "    state.scores.add_entropies('both', {i: 0.5 for i in order})\n"
        "    state.failures.add('damaged', str(n), me)\n"
        "    state.progress.set('scoring', n, 10, 0.0)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), database]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([*command, me], **pipes) for me in "01"]  # type: ignore[call-overload]
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120)[1] for process in running] == ["", ""]
    state = State(tmp_path, url=database)
    images = [f"i{n:02d}" for n in range(20)]
    assert state.embeddings.fingerprints("e") == dict.fromkeys(images, "mark")
    assert state.scores.entropies("both") == dict.fromkeys(images, 0.5)
    models = state.models.all()
    assert {m.fingerprint for m in models} == {"both", *(f"{me}-{n}" for me in "01" for n in range(10))}
    assert len({m.round for m in models}) == len(models) and models[0].round == 40, "each a round of its own"
    rounds = [e["details"]["round"] for e in state.ledger.entries() if e["event"] == "model"]
    assert rounds == list(range(1, 41)), "the ledger is in the order of what happened"


def test_a_database_that_stops_is_named_without_its_password_and_taken_up_again(
    tmp_path: Path, postgresql: Cluster
) -> None:
    state = State(tmp_path, migrate=True, url=postgresql.new_database())
    state.scores.add_entropies("m", {"a": 0.5})
    postgresql.stop()
    try:
        with pytest.raises(sa.exc.SQLAlchemyError) as caught:
            state.scores.entropies("m")
    finally:
        postgresql.start()
    for text in (state.trouble(caught.value), str(caught.value), state.database):
        assert PASSWORD not in text and "p%40ss" not in text
    said = state.trouble(caught.value)
    assert "postgresql+pg8000://pool:***@127.0.0.1" in said and "Start it, then ask again" in said
    assert state.scores.entropies("m") == {"a": 0.5}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://me:secret@host/db", "not a PostgreSQL database"),
        ("postgresql://me:secret@host", "not a PostgreSQL database"),
        ("me:secret@host", "not a database URL"),
    ],
)
def test_a_url_of_something_else_is_refused_without_its_password(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        State(tmp_path, url=url)
    assert "secret" not in str(caught.value)


def test_the_password_may_stay_out_of_the_url(
    tmp_path: Path, postgresql: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = sa.make_url(postgresql.new_database())
    url = sa.URL.create("postgresql", full.username, None, full.host, full.port, full.database)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert State(tmp_path, migrate=True, url=url.render_as_string()).models.all() == []


def test_copies_are_compared_again_when_their_original_changes(state: State) -> None:
    copies, first = state.duplicates, Print("p", b"\x00" * 72)
    copies.add_prints([(image, "1", first) for image in ("a", "b", "c")])
    assert copies.printed() == {"a": "1", "b": "1", "c": "1"} and copies.uncompared() == ["a", "b", "c"]
    copies.add(["a", "b", "c"], [Duplicate("b", "a", 0, True)])
    assert copies.uncompared() == [] and copies.originals() == {"a": first, "c": first}
    sets = copies.sets()
    assert sets == {"a": ("a", "b"), "b": ("a", "b")} and copies.sets() is sets, "read once per change"
    copies.add_prints([("a", "2", Print("q", b"\x01" * 72))])
    assert copies.sets() == {} and copies.uncompared() == ["a", "b"]
    assert [e["image"] for e in state.ledger.entries() if e["event"] == "duplicate"] == ["b"]


def test_a_server_holds_its_lock_again_after_the_database_was_restarted(
    tmp_path: Path, postgresql: Cluster
) -> None:
    url = postgresql.new_database()
    one, other = State(tmp_path / "one", migrate=True, url=url), State(tmp_path / "other", url=url)
    lock = one.serve(0.0, shared=False)
    for _ in range(2):
        postgresql.stop()
        one.watch()  # the database is down: nothing is decided
        assert one.loss() == ""
        postgresql.start()
        one.watch()
        with pytest.raises(Busy), other.exclusive("server"):
            pass
    assert one.loss() == ""
    postgresql.stop()
    postgresql.start()
    with other.exclusive("server"):  # another server is faster
        one.watch()
        assert "another server has taken the pool" in one.loss()
    one.watch()
    assert one.loss() == ""
    lock.close()


def test_what_people_did_is_on_the_disk_when_it_is_done(tmp_path: Path) -> None:
    database = Database(tmp_path, migrate=True)
    for durable, level in ((False, 1), (True, 2), (False, 1)):
        with database.begin(durable) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level


def test_only_the_servers_user_reads_a_state(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        state = State(tmp_path / "state", migrate=True)
        state.ledger.add("event")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "state").glob("pool.db*")}
    assert oct((tmp_path / "state").stat().st_mode & 0o777) == "0o700"
    assert "pool.db-wal" in modes and set(modes.values()) == {"0o600"}


def test_the_database_of_another_pool_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    one, other = (State(tmp_path / name, migrate=True) for name in ("one", "other"))
    own, file = one.pool_id(), tmp_path / "one" / "pool.db"
    assert len(own) == 32 and own != other.pool_id() and State(tmp_path / "one").pool_id() == own
    for state in (one, other):
        state.fold()
        state.watch()
        assert state.loss() == ""
    kept = file.read_bytes()
    file.write_bytes((tmp_path / "other" / "pool.db").read_bytes())  # the same file, by its inode
    one.watch()
    assert "removed or replaced" in one.loss() and "labels that are saved are safe" in one.loss()
    file.write_bytes(kept)
    one.watch()
    assert one.loss() == ""
