"""Who opened which image is in the ledger: once a person, image and hour."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from pool.database import ledger as ledger_module
from pool.database.ledger import HOUR, Opening
from pool.database.state import State
from server.desk.openings import Openings, is_on
from server.ohif import sent_series
from tests.server.http.conftest import Target
from tests.server.polling import until

FIRST, SECOND = "phantom_000", "phantom_001"


def openings(target: Target) -> list[tuple[str, str, str]]:
    """Return client, image and what of each entry."""
    rows = target.ask("GET", "/selection/ledger", "reader").json()
    opened = [row for row in rows if row["event"] == "opened"]
    return [(row["details"]["client"], row["image"], row["details"]["what"]) for row in opened]


def test_those_who_sign_in_leave_one_entry_an_image_and_hour(clinic: Target) -> None:
    def get(path: str, user: str, *roles: str, **params: Any) -> int:
        return clinic.ask("GET", path, *(roles or ("reader",)), user=user, params=params).status_code

    for _ in range(3):
        assert get("/datastore/image", "ada", image=FIRST) == 200
    assert get("/datastore/label", "ada", label=FIRST, tag="final") == 200, "of the same image"
    assert get(f"/selection/image/{SECOND}/voxels", "ada") == 200
    assert get("/selection/images/picture", "bob", image=SECOND) == 200
    assert get(f"/selection/image/{FIRST}/label", "eve") == 200
    assert get("/datastore/dataset", "zoe") == 200
    assert get("/selection/images/thumbnail", "tom", image=SECOND) == 200, "small ones are not recorded"
    assert get("/datastore/image", "tom", image="nothing") == 404
    assert get("/datastore/image", "tom", "judge", image=FIRST) == 403
    wanted = [("ada", FIRST, "image"), ("ada", SECOND, "voxels"), ("bob", SECOND, "picture")]
    wanted += [("eve", FIRST, "label"), ("zoe", FIRST, "data set")]
    until(lambda: len(openings(clinic)) >= len(wanted))
    time.sleep(2.5)  # another write would have come
    assert sorted(openings(clinic)) == sorted(wanted)
    history = clinic.ask("GET", f"/selection/images/history?image={SECOND}", "reader").json()
    shown = [(event["event"], event["who"]) for event in history["events"] if event["event"] == "opened"]
    assert sorted(shown) == [("opened", "ada"), ("opened", "bob")]


def test_a_restart_and_another_server_make_no_second_entry(tmp_path: Path) -> None:
    state = State(tmp_path, migrate=True)
    hour = 1000 * HOUR
    one, later = Opening("a", "ada", "image", hour + 10), Opening("a", "ada", "label", hour + HOUR - 1)
    assert state.ledger.add_openings([one, later, Opening("a", "bob", "image", hour)]) == 2
    assert state.ledger.add_openings([later]) == 0
    assert state.ledger.add_openings([Opening("a", "ada", "image", hour + HOUR)]) == 1
    assert [row["created"] for row in state.ledger.image_history("a")] == [hour + 10, hour, hour + HOUR]


def test_opening_changes_nothing_that_pages_draw(tmp_path: Path) -> None:
    state = State(tmp_path, migrate=True)
    assert state.ledger.newest_id() == 0
    state.ledger.add("label", "a")
    newest = state.ledger.newest_id()
    state.ledger.add_openings([Opening("a", "ada", "image", time.time())])
    assert state.ledger.newest_id() == newest == 1


def test_a_database_that_is_down_gets_the_entries_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.desk.openings._PAUSE", 0.05)
    state = State(tmp_path, migrate=True)
    (tmp_path / "pool.db").rename(tmp_path / "away")
    recorder = Openings(state.ledger)
    (tmp_path / "pool.db").mkdir()  # cannot be opened
    assert ledger_module.OPENED == "opened"
    state.ledger._db.engine.dispose()
    recorder.start()
    assert recorder.is_new("ada", "a") and not recorder.is_new("ada", "a") and recorder.is_new("bob", "a")
    recorder.add("a", "ada", "image")
    time.sleep(0.3)
    (tmp_path / "pool.db").rmdir()
    (tmp_path / "away").rename(tmp_path / "pool.db")
    until(lambda: len(state.ledger.image_history("a")) == 1)


def test_it_is_on_where_users_sign_in_or_if_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from monailabel.config import settings

    assert (is_on("auto"), is_on("true"), is_on("false")) == (False, True, False)
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
    assert (is_on("auto"), is_on("true"), is_on("false")) == (True, True, False)


@pytest.mark.parametrize(
    ("path", "series"),
    [
        ("studies/1.2/series/1.3/instances/1.4/frames/1", "1.3"),
        ("wado/studies/1.2/series/1.3/instances/1.4", "1.3"),
        ("studies/1.2/series/1.3", "1.3"),
        ("studies/1.2/series/1.3/rendered", "1.3"),
        ("studies/1.2/series/1.3/instances/1.4/bulkdata/7FE00010", "1.3"),
        ("studies/1.2", "1.2"),
        ("studies/1.2/series/1.3/metadata", ""),
        ("studies/1.2/series/1.3/instances/1.4/metadata", ""),
        ("studies/1.2/series/1.3/instances", ""),
        ("studies/1.2/series", ""),
        ("studies/1.2/metadata", ""),
        ("studies", ""),
        ("series", ""),
    ],
)
def test_pixels_of_a_dicom_server_are_told_from_searches(path: str, series: str) -> None:
    assert sent_series(path, {}) == series


def test_pixels_that_are_asked_for_by_a_query_are_seen() -> None:
    assert sent_series("wado", {"requestType": "WADO", "seriesUID": "1.3"}) == "1.3"
