"""A start that cannot work ends with one line that says why, through the command that users type."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server_process import Server

TINY = {"image_size": 64, "channels": "[4,8]"}


def last_line(studies: Path, folder: Path, port: int = 0, **conf: Any) -> str:
    """Start a server that refuses; return the last line of its log."""
    server = Server("cxr_lungs", studies, {**TINY, "state": folder / "state", **conf}, folder / "log", port)
    assert server.process.wait(60) not in (0, None)
    text = server.log.read_text()
    assert "Traceback" not in text, text
    line = text.rstrip().splitlines()[-1]
    assert "Application startup failed: " in line, text
    return line.partition("Application startup failed: ")[2]


@pytest.fixture
def studies(phantoms: Path, tmp_path: Path) -> Path:
    shutil.copytree(phantoms / "studies", tmp_path / "studies")
    return tmp_path / "studies"


def test_misspelt_studies_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    assert "xrasy/lungs does not exist" in last_line(tmp_path / "xrasy" / "lungs", tmp_path)
    assert not (tmp_path / "xrasy").exists()


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"cold_start_bugdet": 6}, "did you mean cold_start_budget?"),
        ({"alpha": 7}, "--conf alpha 7: must lie from 0"),
        ({"encoder": "transformers:/no/such/folder"}, "/no/such/folder"),
        ({"image_size": 33}, "image_size"),
    ],
)
def test_wrong_settings(studies: Path, tmp_path: Path, conf: dict[str, Any], says: str) -> None:
    assert says in last_line(studies, tmp_path, **conf)


def test_a_port_in_use(studies: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is in use" in last_line(studies, tmp_path, port)
