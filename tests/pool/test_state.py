"""The pool's database: what is kept, handed out and migrated, also between processes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from pool import schema
from pool.handouts import Client, Terms
from pool.journal import Plan
from pool.state import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state", migrate=True)


def plan(key: str = "k", **more: Any) -> Plan:
    values: dict[str, Any] = dict(kind="cold_start", layout=1, model=None, scored=0, details={"seed": 42})
    values |= {"picks": [{"image": "b", "score": 0.5}, {"image": "a", "score": None}]} | more
    return Plan(0, key, **values)


def test_embeddings_are_kept_per_encoder_and_replaced(state: State) -> None:
    first, second = np.arange(3, dtype=np.float32), np.full(3, 0.1, np.float32)
    state.add_embeddings("e", [("a", "1", first), ("b", "1", second)])
    state.add_embeddings("other", [("a", "1", np.zeros(5))])
    state.add_embeddings("e", [("a", "2", first + 1)])
    assert state.embedded("e") == {"a": "2", "b": "1"} and state.embedded("none") == {}
    found = state.vectors("e", ["b", "a"])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.stack([second, first + 1]).astype(np.float64))
    with pytest.raises(KeyError):
        state.vectors("e", ["a", "c"])


def test_failure_holds_until_the_image_is_embedded(state: State) -> None:
    state.add_failure("a", "1", "empty")
    state.add_failure("a", "2", "black")
    state.add_failure("b", "1", "empty")
    assert state.failures() == {"a": ("2", "black"), "b": ("1", "empty")}
    state.add_embeddings("e", [("a", "3", np.zeros(2))])
    assert set(state.failures()) == {"b"}


def test_newest_layout_of_a_key(state: State) -> None:
    assert state.newest_layout("k") is None
    points = np.random.default_rng(0).normal(size=(3, 2))
    state.add_layout("k", {"a": "1", "b": "2"}, points[:2])
    state.add_layout("k", {"b": "2", "a": "1", "c": "3"}, points)
    state.add_layout("other", {"a": "1"}, points[:1])
    found = state.newest_layout("k")
    assert found is not None and found.images == ["a", "b", "c"] and found.marks == ["1", "2", "3"]
    np.testing.assert_array_equal(found.points, points[[1, 0, 2]])
    assert found.fitted == 3 and state.newest_layout("k") is found, "it is read once"
    with pytest.raises(KeyError):
        state.layout(99)


def test_placed_images_join_the_map_in_sorted_order(state: State) -> None:
    points = np.random.default_rng(0).normal(size=(5, 2))
    state.add_layout("k", {"b": "1", "d": "1"}, points[:2])
    state.add_layout("other", {"b": "1"}, points[:1])
    state.add_placed(1, [("c", "2", points[2]), ("a", "3", points[3])])
    for found in (state.newest_layout("k"), State(state.folder).newest_layout("k")):
        assert found is not None and found.images == list("abcd") and found.marks == ["3", "1", "2", "1"]
        np.testing.assert_array_equal(found.points, points[[3, 0, 2, 1]])
        assert found.laid_out.tolist() == [False, True, False, True] and found.fitted == 2
    assert state.layout(2).images == ["b"], "the other map has none of it"
    state.add_layout("k", {"b": "1"}, points[4:])
    assert state.layout(3).images == ["b"] and state.layout(3).fitted == 1


def test_an_image_that_is_placed_again_moves_also_for_other_processes(state: State) -> None:
    points = np.random.default_rng(0).normal(size=(5, 2))
    server = State(state.folder)
    state.add_layout("k", {"a": "1", "b": "1"}, points[:2])
    state.add_placed(1, [("c", "1", points[2])])
    assert server.layout(1).images == ["a", "b", "c"]
    state.add_placed(1, [("c", "2", points[3])])  # as many rows as before
    np.testing.assert_array_equal(server.layout(1).points, points[[0, 1, 3]])
    assert server.layout(1).marks == ["1", "1", "2"] and server.layout(1).fitted == 2
    state.add_placed(1, [("a", "2", points[4])])  # one that was laid out
    np.testing.assert_array_equal(server.layout(1).points, points[[4, 1, 3]])
    assert server.layout(1).marks == ["2", "1", "2"] and server.layout(1).fitted == 1


def test_thousands_of_images_can_be_placed_at_once(state: State) -> None:
    state.add_layout("k", {"a": "1"}, np.zeros((1, 2)))
    state.add_placed(1, [(f"n{i:05d}", "1", np.array([i, 0.5])) for i in range(20_000)])
    found = state.layout(1)
    assert len(found.images) == 20_001 and found.points[-1].tolist() == [19_999, 0.5]


def test_models_are_rounds_and_a_known_one_returns_as_the_newest(state: State) -> None:
    for name in ("x", "y", "x"):
        state.add_model(name, ["a", "b"], {"seed": 1})
    assert [(m.fingerprint, m.round) for m in state.models()] == [("x", 3), ("y", 2)]
    assert state.models()[0].labelled == ["a", "b"] and state.models()[0].details == {"seed": 1}


def test_entropies_are_kept_per_model_and_replaced(state: State) -> None:
    state.add_entropies("m", {"a": 0.25, "b": 0.5})
    state.add_entropies("m", {"b": 0.75})
    state.add_entropies("n", {"a": 1.0})
    assert state.entropies("m") == {"a": 0.25, "b": 0.75} and state.entropies("none") == {}


def test_newest_plan_of_a_key(state: State) -> None:
    assert state.journal.plan("k") is None
    first, second = state.journal.add_plan(plan()), state.journal.add_plan(plan(scored=8, model="m"))
    assert first.id != second.id and state.journal.plan("k") == second and second.model == "m"
    assert second.picks == plan().picks and second.details == {"seed": 42}


def test_ledger_only_grows(state: State) -> None:
    steps = [
        lambda: state.journal.add_plan(plan()),
        lambda: state.handouts.give(
            Client("me"), "p", ["a"], lambda image: True, lambda image: {"stage": "cold_start"}, Terms()
        ),
        lambda: state.add_failure("a", "1", "empty"),
        lambda: state.add_model("m", ["a"], {"seed": 7}),
        lambda: state.add_layout("k", {"a": "1"}, np.zeros((1, 2)), "grown"),
        lambda: state.add_placed(1, [("b", "1", np.zeros(2))]),
        lambda: state.journal.start_training({"model": "segmentation"}),
        lambda: state.journal.end_training("done"),
        lambda: state.journal.log("label", "a", {"label": "a"}),
    ]
    before: list[dict[str, Any]] = []
    for step in steps:
        step()
        now = state.journal.ledger()
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
    assert state.journal.progress() is None
    state.journal.set_progress("embedding", 1, 8, 5.0)
    state.journal.set_progress("failed", 0, 0, 6.0, error="no weights")
    found = state.journal.progress()
    assert found is not None and (found["step"], found["done"], found["error"]) == ("failed", 0, "no weights")


def test_open_training_outlives_the_process(state: State) -> None:
    assert state.journal.open_training() is None
    state.journal.start_training({"max_epochs": 2})
    assert State(state.folder).journal.open_training() == {"max_epochs": 2}
    state.journal.end_training("done")
    assert State(state.folder).journal.open_training() is None


def test_readers_do_not_wait_for_a_writer(state: State) -> None:
    state.add_entropies("m", {"a": 0.5})
    state.journal.add_plan(plan())
    with state._db.engine.begin() as writer:  # holds the write lock
        writer.execute(sa.insert(schema.entropies).values(model="m", image="b", value=0.7))
        probe = sa.create_engine(f"sqlite:///{state.folder / 'pool.db'}", connect_args={"timeout": 0})
        with pytest.raises(sa.exc.OperationalError, match="locked"), probe.connect() as other:
            other.exec_driver_sql("BEGIN IMMEDIATE")
        reader = State(state.folder)
        assert reader.entropies("m") == {"a": 0.5}, "what was committed, not what is being written"
        assert (
            reader.journal.plan("k") is not None and reader.handouts.open() == [] and reader.journal.ledger()
        )
    assert reader.entropies("m") == {"a": 0.5, "b": 0.7}


def test_new_database_is_stamped_and_reopened_with_its_content(state: State) -> None:
    state.add_model("m", [], {})
    again = State(state.folder, migrate=True)
    assert [m.fingerprint for m in again.models()] == ["m"]
    with again._db.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [("0002",)]


def test_older_database_is_upgraded(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.add_model("m", [], {})
    newer = tmp_path / "newer"
    shutil.copytree(Path(schema.__file__).parent / "migrations", newer / "migrations")
    (newer / "migrations" / "versions" / "0003_next.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = '0003', '0002'\n"
        "def upgrade():\n    op.add_column('models', sa.Column('note', sa.String))\n"
    )
    monkeypatch.setattr(schema, "__file__", str(newer / "schema.py"))
    again = State(state.folder, migrate=True)
    with again._db.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == [("0003",)]
        assert connection.exec_driver_sql("SELECT fingerprint, note FROM models").all() == [("m", None)]


def test_a_database_from_before_leases_keeps_its_history(tmp_path: Path) -> None:
    before = sa.create_engine(f"sqlite:///{tmp_path / 'pool.db'}")
    with before.begin() as connection:  # what revision 0001 had of the tables that changed since
        for line in (
            "CREATE TABLE handouts (id INTEGER PRIMARY KEY AUTOINCREMENT, image VARCHAR NOT NULL, "
            "list VARCHAR NOT NULL, client VARCHAR NOT NULL, created FLOAT NOT NULL)",
            "CREATE TABLE ledger (id INTEGER PRIMARY KEY, created FLOAT, event VARCHAR, image VARCHAR, "
            "details JSON)",
            "CREATE TABLE trainings (id INTEGER PRIMARY KEY, request JSON NOT NULL, "
            "running BOOLEAN NOT NULL, outcome VARCHAR, created FLOAT NOT NULL)",
            "CREATE TABLE failures (image VARCHAR PRIMARY KEY, fingerprint VARCHAR, reason VARCHAR)",
            "INSERT INTO handouts (image, list, client, created) VALUES ('a', 'p', 'me', 5.0)",
            "INSERT INTO ledger VALUES (1, 5.0, 'handout', 'a', '{}')",
            'INSERT INTO trainings VALUES (1, \'{"model": "segmentation"}\', 1, NULL, 5.0)',
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
            "INSERT INTO alembic_version VALUES ('0001')",
        ):
            connection.exec_driver_sql(line)
    state = State(tmp_path, migrate=True)
    assert [entry["event"] for entry in state.journal.ledger()] == ["handout"]
    assert state.handouts.open() == [] and state.handouts.skipped() == {}
    assert state.journal.open_training() == {"model": "segmentation"}
    given = state.handouts.give(Client("me"), "p", ["a"], lambda i: True, lambda i: {}, Terms())
    assert given is not None and given.image == "a", "the old hand-out is closed"
