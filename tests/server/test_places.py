"""Places of pool states, and the record of running servers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from server.cli.named import NamedPool
from server.places import (
    PoolPlace,
    data_folder,
    record_server,
    running_servers,
    state_folder,
    state_name,
    states_folder,
)


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def test_a_state_is_in_the_users_data_folder_unless_one_is_in_the_app(tmp_path: Path) -> None:
    app = tmp_path / "apps" / "liver"
    default = state_folder(str(app), "/data/xrays/", "")
    assert default == tmp_path / "data" / "scan-selection" / "liver" / state_name("/data/xrays")
    assert default.name.startswith("xrays-") and default != state_folder(str(app), "/other/xrays", "")
    assert states_folder(str(tmp_path / "clone" / "liver")) == default.parent, "a fresh clone finds it"
    former = app / "state" / default.name
    former.mkdir(parents=True)
    assert state_folder(str(app), "/data/xrays", "") == former
    assert state_folder(str(app), "/data/xrays", "~/one") == Path("~/one").expanduser()


def place(tmp_path: Path, name: str) -> PoolPlace:
    for folder in (tmp_path / name / "app", tmp_path / name / "studies"):
        folder.mkdir(parents=True)
    (tmp_path / name / "app" / "main.py").touch()
    state = str(tmp_path / name / "state")
    conf = {"state": state, "alpha": "0.5"}
    return PoolPlace(str(tmp_path / name / "app"), str(tmp_path / name / "studies"), conf, state)


def test_a_running_server_names_the_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = place(tmp_path, "first")
    file = record_server(first, "http://127.0.0.1:8000")
    assert file.stat().st_mode & 0o777 == 0o600
    for given in (NamedPool(), NamedPool(app=Path(first.app)), NamedPool(studies=first.studies)):
        assert given.place() == first
    assert "The pool of the server at http://127.0.0.1:8000: " in capsys.readouterr().err
    changed = NamedPool(conf=["alpha=0.1"]).place()
    assert changed.conf == {**first.conf, "alpha": "0.1"} and changed.state == first.state
    elsewhere = NamedPool(Path(first.app), first.studies, tmp_path / "else").place()
    assert elsewhere.conf == {"state": str(tmp_path / "else")}, "of another state than the server's"
    with pytest.raises(ValueError, match="name the pool by --app and --studies"):
        NamedPool(studies=str(tmp_path)).place()


def test_several_servers_are_told_apart(tmp_path: Path) -> None:
    first, second = place(tmp_path, "first"), place(tmp_path, "second")
    file = record_server(first, "http://127.0.0.1:8000")
    other = {**json.loads(file.read_text()), "studies": second.studies, "state": second.state}
    (file.parent / "2.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="several servers run; name one pool by --studies"):
        NamedPool().place()
    assert NamedPool(studies=first.studies).place() == first


def test_the_record_of_a_killed_server_is_removed(tmp_path: Path) -> None:
    file = record_server(place(tmp_path, "first"), "http://127.0.0.1:8000")
    former = {**json.loads(file.read_text()), "started": 1.0}  # the process id is somebody else's now
    file.write_text(json.dumps(former))
    (file.parent / "broken.json").write_text("{")
    assert running_servers() == [] and os.listdir(data_folder() / "running") == ["broken.json"]
