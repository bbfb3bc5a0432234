"""Labels whose database breaks while they are recorded: one entry each, whenever it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from bundle_configs import Bundle
from pool.database.state import State
from pool.datastore.store import PoolDatastore
from server.saved_labels import SavedLabels
from tests.postgres import Cluster
from tests.reset_proxy import resetting

IMAGE = "phantom_000"


@pytest.mark.parametrize("tag", ["final", "draft"])
def test_an_answer_lost_after_a_commit_costs_no_entry_and_makes_no_second_one(
    tag: str, phantoms: Path, tmp_path: Path, postgresql: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can tell a commit whose answer was lost from one that never came about."""
    (tmp_path / "studies").mkdir()
    shutil.copy(phantoms / "studies" / f"{IMAGE}.png", tmp_path / "studies")
    url, broken = sa.make_url(postgresql.new_database()), 0
    with resetting(url.port or 0) as proxy:
        through = url.set(port=proxy.port).render_as_string(hide_password=False)
        state = State(tmp_path / "state", migrate=True, url=through)
        labels = SavedLabels(state, lambda: store, lambda: None)
        store = PoolDatastore(
            str(tmp_path / "studies"), Bundle("cxr_lungs").get("labels"), saved=labels.saved
        )
        for number in range(1, 20):
            proxy.loses_commit, before = number, proxy.done
            label = str(phantoms / "labels" / f"{IMAGE}.png")
            store.save_label(IMAGE, label, tag, {"client_id": f"ann {number}"})
            if proxy.done > before:
                broken += 1
                assert "the ledger gets it when it can be written again" in caplog.text
            proxy.loses_commit = 0
            labels.catch_up()
            entries = [entry for entry in state.ledger.entries() if entry["event"] == "label"]
            assert [entry["details"]["client"] for entry in entries] == [
                f"ann {n + 1}" for n in range(number)
            ]
            if proxy.done == before:  # there are fewer commits than that
                break
            caplog.clear()
        store.close()
    assert broken >= (3 if tag == "final" else 1)
