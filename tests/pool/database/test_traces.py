"""Removing images from the database: no row, pick, map or text names them afterwards."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from pool.database import schema
from pool.database.connect import connect
from pool.database.duplicates import Duplicate
from pool.database.handouts import Client, LeasePolicy
from pool.database.plans import Plan
from pool.database.state import State
from pool.protocol import Print

GONE, STAYS = "Mustermann^1", "mann_2"  # with signs that an expression or LIKE could take for its own


@pytest.fixture
def state(tmp_path: Path, database: str) -> State:
    """Every table that can hold an image has both."""
    state, both = State(tmp_path, migrate=True, url=database), (GONE, STAYS)
    state.embeddings.add("e", [(image, "1", np.ones(4)) for image in both])
    state.maps.add("m", dict.fromkeys(both, "1"), np.arange(4.0).reshape(2, 2))
    state.maps.place(1, [(GONE, "1", np.zeros(2))])
    picks = [{"image": image, "entropy": 0.5} for image in both]
    details = {"labelled": list(both), "note": f"near {GONE}, far from {STAYS}.", "clusters": {GONE: 1}}
    state.plans.add(Plan(0, "m", "active", 1, None, 2, picks, details))
    state.models.add("sha", both, {"images": list(both)})
    state.scores.add_entropies("sha", dict.fromkeys(both, 0.5))
    state.validations.add("sha", GONE, {"dice": [0.9]})
    state.heads.add("e", "h", 1, b"", {"labels": {GONE: 1}})
    state.duplicates.add_prints((image, "1", Print("p", b"h")) for image in both)
    state.duplicates.add(both, [Duplicate(STAYS, GONE, 1, False)], {GONE: "group:17", STAYS: "group:18"})
    state.marks.put("next", both, "lead", f"the surgeon asks for {GONE}")
    for image in both:
        state.handouts.give(
            Client("ada"), "m", [image], lambda _: True, lambda i: {"reason": i}, LeasePolicy()
        )
    state.handouts.labelled(GONE, "ada", {"comment": "Mr Mustermann has a fracture"})
    state.failures.add(GONE, "1", "no image")
    state.predictions.add(GONE, "digest", "segmentation")
    state.drafts.save("ada", GONE, b"drawing", {"of": GONE})
    return state


def test_nothing_names_a_removed_image(state: State, tmp_path: Path, database: str) -> None:
    assert {GONE, STAYS} <= state.traces.images()
    assert set(state.traces.count([GONE])) >= {"embeddings", "layouts", "plans", "ledger", "copies", "heads"}
    assert state.traces.rounds([GONE]) == [1] and len(state.ledger.labels()) == 1
    assert state.drafts.remove_images([GONE]) == 1 and not list((tmp_path / "drafts").iterdir())
    seen: list[int] = []
    rows = state.traces.remove([GONE], "lead", {"files": 3}, seen.append, ["17"])
    assert rows["embeddings"] == 1 and rows["layouts"] == 1 and seen
    assert state.traces.count([GONE]) == {} and state.traces.images() == {STAYS}
    text = everything(tmp_path, database)
    assert "Mustermann" not in text and "group:17" not in text and STAYS in text and "group:18" in text
    after = State(tmp_path, url=database)
    assert after.maps.get(1).images == [STAYS] and after.maps.get(1).points.tolist() == [[2.0, 3.0]]
    plan = after.plans.newest("m")
    assert plan and [pick["image"] for pick in plan.picks] == [STAYS]
    assert plan.details["note"].startswith("near removed-") and plan.details["note"].endswith(f"{STAYS}.")
    assert after.duplicates.uncompared() == [STAYS], "it was a copy of one that is gone"
    last = after.ledger.entries()[-1]
    assert last["event"] == "patient_removed" and last["image"] is None
    assert (
        last["details"]["images"] == 1
        and last["details"]["client"] == "lead"
        and last["details"]["files"] == 3
    )
    assert [client for _, client, _ in after.ledger.labels()] == ["ada"], "the work is still counted"


def everything(folder: Path, url: str) -> str:
    """All rows of a database as text."""
    with connect(folder / "pool.db", url).connect().execution_options(reads=True) as connection:
        return "\n".join(
            str(row)
            for table in schema.metadata.sorted_tables
            for row in connection.execute(sa.select(table))
        )


def test_what_is_removed_is_overwritten_on_the_disk(tmp_path: Path) -> None:
    state = State(tmp_path, migrate=True)
    for i in range(50):
        state.failures.add(f"Mustermann{i}", "1", "Mustermann " * 20)
    state.fold()
    assert b"Mustermann" in (tmp_path / "pool.db").read_bytes()
    state.traces.remove([f"Mustermann{i}" for i in range(50)], "lead", {})
    state.fold()
    assert b"Mustermann" not in b"".join(path.read_bytes() for path in tmp_path.glob("pool.db*"))
    assert sqlite3.connect(tmp_path / "pool.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_short_ids_and_uids_are_not_taken_for_parts_of_others(tmp_path: Path) -> None:
    state = State(tmp_path, migrate=True)
    others = {
        "of": ["1.2.30", "1.2.3.4", "12"],
        "note": "1.2.3.4 and 1.2.30 at 2 mm",
        "picks": [{"image": "1"}],
    }
    state.ledger.add("plan", None, others)
    state.ledger.add("note", None, {"note": "see 1.2.3, please"})
    state.traces.remove(["1.2.3", "2"], "lead", {})
    plan, note, _ = state.ledger.entries()
    assert plan["details"] == others and note["details"]["note"].startswith("see removed-")
