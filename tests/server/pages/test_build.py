"""The committed pages match a build of their sources."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.options import missing_service

PAGES = Path(__file__).resolve().parents[3] / "server" / "pages"


def test_the_committed_pages_are_those_of_the_sources(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if not shutil.which("node") or not shutil.which("npm"):
        missing_service(request.config, "no node or npm: apt-get install nodejs npm")
    copy = tmp_path / "pages"
    shutil.copytree(PAGES, copy, ignore=shutil.ignore_patterns("node_modules", "static"))
    for command in (["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["npm", "run", "all"]):
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    built, kept = copy / "static", PAGES / "static"
    assert sorted(path.name for path in built.iterdir()) == sorted(path.name for path in kept.iterdir())
    for path in built.iterdir():
        assert path.read_bytes() == (kept / path.name).read_bytes(), (
            f"{path.name}: run make pages, and commit"
        )


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((PAGES / "package-lock.json").read_text())["packages"]
    assert packages and all("resolved" not in package for package in packages.values())


def test_every_package_in_the_pages_has_its_licence_beside_them() -> None:
    packages = json.loads((PAGES / "package-lock.json").read_text())["packages"]
    notice = (PAGES / "static" / "NOTICE.txt").read_text()
    shipped = [path for path, package in packages.items() if path and not package.get("dev")]
    assert "node_modules/regl-scatterplot" in shipped
    for path in shipped:
        assert f"\n{path.rpartition('node_modules/')[2]} {packages[path]['version']} (" in notice
