"""Sessions: private, bounded, and removed when they expire or their server ends."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import HTTPException, UploadFile

from benchmarks.server_process import Server
from server.http import sessions
from server.http.sessions import Sessions
from server.http.uploads import extension_of
from tests.server.http.conftest import Target, pool


def upload(name: str | None = "a.png", content: bytes = b"pixels") -> UploadFile:
    return UploadFile(io.BytesIO(content), size=len(content), filename=name)


def test_a_session_is_kept_for_its_owner_under_names_of_the_servers_own(tmp_path: Path) -> None:
    kept = Sessions(tmp_path, 3600)
    one = kept.add([upload("../../etc/pass wd.nii.gz")], 0, "ada")
    assert one.image.name == "00000.nii.gz" and one.image.read_bytes() == b"pixels"
    assert one.name == "pass wd.nii.gz" and str(tmp_path) not in str(one.as_json())
    assert one.folder.stat().st_mode & 0o077 == 0 and (tmp_path / "sessions").stat().st_mode & 0o077 == 0
    several = kept.add([upload("IM1"), upload("IM2"), upload("IM1")], 10, "ada")
    assert sorted(path.name for path in several.image.iterdir()) == ["00000", "00001", "00002"]
    assert several.expiry == 10 and one.expiry == 3600
    assert kept.get(one.id, "ada") is one
    for session, who in ((one.id, "eve"), ("../" + one.id, "ada"), ("", "ada"), (str(one.folder), "ada")):
        with pytest.raises(HTTPException, match="no such session"):
            kept.get(session, who)
        with pytest.raises(HTTPException, match="no such session"):
            kept.remove(session, who)
    kept.remove(one.id, "ada")
    assert not one.folder.exists() and several.folder.exists()


def test_sessions_end_by_age_and_with_their_server(tmp_path: Path) -> None:
    kept = Sessions(tmp_path, 3600)
    old, new = kept.add([upload()], 0, "ada"), kept.add([upload()], 0, "ada")
    old.used_at = time.monotonic() - 3601
    kept.remove_expired()
    assert not old.folder.exists() and new.folder.exists()
    beside = Sessions(tmp_path, 3600)  # another server of the pool
    assert new.folder.exists()
    kept.close()
    assert not new.folder.exists()
    beside.add([upload()], 0, "ada")
    beside._held.release()  # as a kill does
    Sessions(tmp_path, 3600)
    assert not beside._folder.exists()


def test_number_and_size_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    kept = Sessions(tmp_path, 3600)
    first = [kept.add([upload()], 0, "ada") for _ in range(3)][0]
    with pytest.raises(HTTPException, match="3 sessions are open") as refused:
        kept.add([upload()], 0, "ada")
    assert refused.value.status_code == 429
    kept.remove(first.id, "ada")
    kept.add([upload()], 0, "ada")
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 9)
    monkeypatch.setattr(sessions, "MAX_BYTES", 18)
    with pytest.raises(HTTPException, match="18 bytes at most"):
        kept.add([upload()], 0, "ada")


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.png", ".png"),
        ("a.seg.nrrd", ".seg.nrrd"),
        ("a.b.c.nii.gz", ".nii.gz"),
        ("IM0001", ""),
        ("a./../x", ""),
        ("a.png/../../b", ""),
        ("a." + "x" * 300, ""),
        ("a.p\u0000ng", ""),
        (None, ".nii.gz"),
    ],
)
def test_only_plain_endings_are_kept_of_a_clients_names(name: str | None, extension: str) -> None:
    assert extension_of(name) == extension


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_stops_leaves_no_session(
    how: int, phantoms: Path, start: Callable[..., Server], tmp_path: Path
) -> None:
    target = Target(start(pool(phantoms, tmp_path), tmp_path / "state", prepared=True), tmp_path)
    image = (phantoms / "studies" / "phantom_001.png").read_bytes()
    assert target.ask("PUT", "/session/", files={"files": ("a.png", image)}).status_code == 200
    assert list((tmp_path / "state" / "sessions").rglob("*.png"))
    target.server.process.send_signal(how)
    target.server.process.wait(60)
    assert not list((tmp_path / "state" / "sessions").iterdir())


def test_the_default_of_a_signal_is_kept() -> None:
    code = (
        "import signal; from server.http.sessions import _chain; "
        "signal.signal(signal.SIGTERM, _chain(lambda: print('closed', flush=True), signal.SIG_DFL)); "
        "signal.raise_signal(signal.SIGTERM)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "closed\n" and done.returncode == -signal.SIGTERM
