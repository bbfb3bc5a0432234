"""Slow references of the compared methods."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def methods() -> ModuleType:
    """Return plain-Python methods, written from their rules without the selectors' code."""
    spec = importlib.util.spec_from_file_location(
        "selectors_reference_methods", Path(__file__).parent / "reference_methods.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
