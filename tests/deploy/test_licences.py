"""Licences of what the server runs on: no GPL, and LGPL only where it is named."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy/licences.py"
licences = runpy.run_path(str(SCRIPT))


def test_no_package_has_a_licence_that_may_not_be_used() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) > 100
    assert any(line.startswith("torch ") for line in lines)
    assert {line.split()[0] for line in lines if "LGPL" in line} == licences["LGPL"]


@pytest.mark.parametrize(
    ("name", "licence", "allowed"),
    [
        ("a", "MIT", True),
        ("a", "BSD License", True),
        ("a", "GPL-3.0-only", False),
        ("a", "MIT AND GPL-2.0-or-later", False),
        ("a", "GNU Lesser General Public License v3", False),
        ("a", "", False),
        ("openslide-python", "LGPL-2.1-only AND MIT", True),
        ("openslide-python", "LGPL-2.1-only AND GPL-2.0-only", False),
    ],
)
def test_gpl_is_refused_and_lgpl_is_named(name: str, licence: str, allowed: bool) -> None:
    assert licences["allowed"](name, licence) == allowed
