"""Fixtures for all tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    """The folder of real images; skips the test when none was given."""
    given = request.config.getoption("--real-data")
    if not given:
        pytest.skip("no real images: give their folder with --real-data=DIR")
    folder = Path(given).resolve()
    if not (folder / "montgomery" / "images").is_dir():
        pytest.fail(f"--real-data {folder}: has no montgomery/images")
    return folder


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """Plain-Python cold_start and active, written from the rules without the selectors' code."""
    path = Path(__file__).parent / "strategies" / "selectors" / "reference.py"
    spec = importlib.util.spec_from_file_location("selectors_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
