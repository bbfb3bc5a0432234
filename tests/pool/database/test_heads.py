"""Instant heads: the newest few are kept, with their scores, and go with a backup."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.backup.tables import copy_tables, snapshot
from pool.database.connect import connect
from pool.database.heads import KEPT, source_name
from pool.database.migration import migrate
from pool.database.state import State

FACTS = {"labels": {"lungs": 3}, "dice": 0.8, "seed": 42, "seconds": 1.5}


@pytest.fixture
def state(tmp_path: Path, database: str) -> State:
    return State(tmp_path / "state", migrate=True, url=database)


def add(state: State, fingerprint: str, features: str = "grid:1") -> None:
    head = state.heads.add(features, fingerprint, 3, bytes(range(256)) * 400, FACTS)
    state.scores.add_entropies(head.source, {"a": 0.5, "b": 0.25})
    state.scores.add_measures(head.source, {"a": {"foreground": 1.0}})


def sources_with_scores(state: State, *fingerprints: str) -> list[str]:
    names = {fingerprint: source_name(fingerprint) for fingerprint in fingerprints}
    return [f for f, name in names.items() if state.scores.count(name) and state.scores.measures(name)]


def test_a_head_comes_back_as_it_was(state: State) -> None:
    assert state.heads.newest() is None and state.heads.sources() == []
    add(state, "f1")
    head = state.heads.newest()
    assert head is not None and head == state.heads.get(head.number)
    assert (head.features, head.fingerprint, head.n_labels, head.facts) == ("grid:1", "f1", 3, FACTS)
    assert head.blob == bytes(range(256)) * 400 and head.source == "instant|f1" and head.created > 0
    entry = state.ledger.entries()[-1]
    assert entry["event"] == "head" and entry["details"]["facts"] == FACTS and "blob" not in entry["details"]


def test_the_newest_are_kept_with_their_scores(state: State) -> None:
    state.scores.add_entropies("a model", {"a": 0.5})
    names = [f"f{n}" for n in range(KEPT + 2)]
    for name in names:
        add(state, name)
    assert state.heads.sources() == [source_name(name) for name in reversed(names[-KEPT:])]
    assert sources_with_scores(state, *names) == names[-KEPT:]
    assert state.scores.count("a model") == 1, "scores of others stay"
    with pytest.raises(KeyError, match="head 1 is not kept"):
        state.heads.get(1)


def test_a_head_of_the_same_labels_is_replaced(state: State) -> None:
    for name in ("f1", "f2"):
        add(state, name)
    again = state.heads.add("grid:2", "f1", 3, b"", {})
    assert state.heads.newest() == again and state.heads.sources() == ["instant|f1", "instant|f2"]
    assert sources_with_scores(state, "f1", "f2") == ["f2"], "what other features gave is no longer true"
    assert again.number == 3, "a number names one head for good"


def test_the_newest_of_some_features(state: State) -> None:
    add(state, "f1", "grid:1")
    add(state, "f2", "grid:2")
    newest = state.heads.newest("grid:1")
    assert newest is not None and newest.fingerprint == "f1" and state.heads.newest("other") is None


def test_a_backup_has_the_heads(state: State, tmp_path: Path) -> None:
    add(state, "f1")
    (tmp_path / "copy").mkdir()
    target = connect(tmp_path / "copy" / "pool.db")
    migrate(target)
    with snapshot(state.heads._db.engine) as source, target.begin() as copy:
        assert copy_tables(source, copy)["heads"] == 1
    target.dispose()
    assert State(tmp_path / "copy").heads.newest() == state.heads.newest()
