"""Generated requests to every route: no input causes a server error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.server_process import Server
from tests.server.http.conftest import Target, pool

# names that exist and names that do not, so that requests get beyond the first check
CONFIG = """
[parameters]
image = ["phantom_000", "phantom_001", "phantom_002", "nothing", "../x", ""]
label = ["phantom_000", "nothing"]
id = ["phantom_005", "nothing"]
tag = ["final", "original", "../x", ""]
model = ["segmentation", "segmentation", "nothing"]
strategy = ["auto", "random", "active", "cold_start", "nothing"]
method = ["refresh", "nothing"]
"""


def test_no_request_ends_in_a_server_error(
    request: pytest.FixtureRequest, phantoms: Path, start: Callable[..., Server], tmp_path: Path, long: bool
) -> None:
    seconds = request.config.getoption("--fuzz-seconds") or (60 if long else 10)
    target = Target(
        start(pool(phantoms, tmp_path), tmp_path / "state", allow="reload,model_upload", prepared=True),
        tmp_path,
    )
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--no-color",
        "--config-file",
        "schemathesis.toml",
    ]
    command += ["run", f"{target.url}/openapi.json", "--checks", "not_a_server_error", "--seed", "1"]
    command += ["--max-time", str(seconds), "--request-timeout", "60", "--continue-on-failure"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=seconds + 300)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert target.ask("GET", "/info/").status_code == 200
    assert "Exception in ASGI application" not in target.server.log.read_text()
