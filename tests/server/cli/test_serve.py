"""`scan-selection serve`: mistakes in one line, and a server started from anywhere."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from benchmarks.server_process import ROOT, free_port
from server.cli.main import app
from server.places import PoolPlace, record_server
from tests.server.polling import until

APP = str(ROOT / "apps" / "cxr_lungs")


def refusal(*words: object, app_folder: str = APP) -> str:
    """Start a server that is refused before it imports PyTorch; return the one line."""
    done = CliRunner().invoke(app, ["serve", "--app", app_folder, *map(str, words)])
    assert done.exit_code == 1, done.output
    (line,) = done.output.splitlines()
    return line


def test_mistakes_are_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.png").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert "xrasy does not exist" in refusal("--studies", tmp_path / "xrasy")
    assert not (tmp_path / "xrasy").exists()
    assert "file.png is a file" in refusal("--studies", tmp_path / "file.png")
    assert "there is no app here" in refusal("--studies", tmp_path, app_folder=str(tmp_path))
    assert "name the pool: --app" in refusal()
    studies = ("--studies", tmp_path)
    assert "did you mean cold_start_budget?" in refusal(*studies, "--conf", "cold_start_bugdet", "6")
    assert "without --workers" in refusal(*studies, "--workers", "2")
    assert "Cannot assign" in refusal(*studies, "--host", "203.0.113.1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is in use" in refusal(*studies, "--port", port)
    record_server(PoolPlace(APP, str(tmp_path), {}, str(tmp_path / "state")), "http://127.0.0.1:8000")
    assert "another server works on this pool: http://127.0.0.1:8000, process" in refusal(
        *studies, "--state", tmp_path / "state"
    )


def test_it_starts_from_anywhere_without_an_environment_and_says_where_things_are(tmp_path: Path) -> None:
    studies, guideline, port = tmp_path / "my scans", tmp_path / "how to draw.md", free_port()
    studies.mkdir()
    guideline.write_text("# Draw the lungs")
    (tmp_path / "state").mkdir()
    command = [shutil.which("scan-selection", path=str(Path(sys.executable).parent)), "serve"]
    command += ["--app", APP, "--studies", studies, "--port", str(port), "--state", tmp_path / "state"]
    command += ["--conf", "guideline", guideline]
    bare = {"HOME": str(tmp_path), "PATH": "/nowhere", "XDG_DATA_HOME": os.environ["XDG_DATA_HOME"]}
    log = tmp_path / "log"
    with open(log, "w") as output:
        server = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=output, env=bare, cwd="/", start_new_session=True
        )
    try:
        until(lambda: "There are no images" in log.read_text() or server.poll() is not None)
        text = log.read_text()
        assert server.poll() is None, text
        assert "Traceback" not in text and "USING::" not in text and "alembic" not in text
        assert f"State: {tmp_path / 'state'}\n" in text
        assert f"Log: {tmp_path}/state/logs/app.log (at most 5 files of 2 MiB)" in text
        assert text.count("\n") < 30, text
        answer = requests.get(f"http://127.0.0.1:{port}/selection/reader", timeout=30)
        assert answer.ok and "Draw the lungs" in answer.json()["guideline"]
        done = CliRunner().invoke(app, ["status", "--studies", str(studies)])
        assert done.exit_code == 0 and "images             0" in done.stdout, done.output
    finally:
        server.terminate()
        server.wait(30)
    assert CliRunner().invoke(app, ["status", "--studies", str(studies)]).exit_code == 1, "it has ended"
