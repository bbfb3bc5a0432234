"""Run a preparer as its command does, and read its manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner


@pytest.fixture
def command() -> Callable[..., Result]:
    """command(main, source=..., out=...): run a preparer's command line."""

    def run(main: Callable[..., None], **options: Any) -> Result:
        app = typer.Typer()
        app.command()(main)
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return CliRunner().invoke(app, words)

    return run


@pytest.fixture
def manifest_of() -> Callable[[Path], dict[str, Any]]:
    def read(out: Path) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((out / "manifest.json").read_text())
        return content

    return read
