"""The lock has what setup.cfg asks for and what that needs, on each supported Python, and is installed."""

from __future__ import annotations

import configparser
import platform
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
UNLOCKED = {"torch"}  # a step of its own in the Makefile


def options() -> configparser.ConfigParser:
    """setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirements(text: str) -> list[Requirement]:
    """The requirements among these lines, without comments and hashes."""
    lines = (re.sub(r"(^|\s)#.*| \\$", "", line) for line in text.splitlines())
    return [Requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("--")]


def locked(name: str, python: str) -> dict[str, Requirement]:
    """{name: requirement} of a file of the lock, on Linux with this Python."""
    found = [item for item in requirements((ROOT / "deploy" / name).read_text()) if applies(item, python)]
    assert len({item.name for item in found}) == len(found), "a package has two versions"
    return {canonicalize_name(item.name): item for item in found}


def applies(requirement: Requirement, python: str) -> bool:
    """True when a requirement, of no extra, holds on Linux with this Python."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""})


def pinned(requirement: Requirement) -> str:
    """The one version that a locked requirement allows."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


def asked(python: str) -> Iterator[tuple[Requirement, dict[str, Requirement]]]:
    """Yield what setup.cfg and monailabel.in ask for, with the part of the lock that must have it."""
    parser = options()
    server = locked("requirements.txt", python)
    everything = {**server, **locked("requirements-test.txt", python)}
    without_metadata = (ROOT / "deploy/monailabel.in").read_text()
    for requirement in requirements(parser["options"]["install_requires"] + "\n" + without_metadata):
        yield requirement, server
    for requirement in requirements(parser["options.extras_require"]["test"]):
        yield requirement, everything


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_what_setup_cfg_asks_for_within_the_constraints(python: str) -> None:
    limits = requirements((ROOT / "constraints.txt").read_text())
    bounds = {canonicalize_name(item.name): item.specifier for item in limits if applies(item, python)}
    for requirement, lock in asked(python):
        name = canonicalize_name(requirement.name)
        if name in UNLOCKED or not applies(requirement, python):
            continue
        assert name in lock, f"{name} is not in the lock: make lock"
        assert pinned(lock[name]) in requirement.specifier, f"{lock[name]}: make lock"
    for lock_file in ("requirements.txt", "requirements-test.txt"):
        for name, requirement in locked(lock_file, python).items():
            assert name not in bounds or pinned(requirement) in bounds[name], f"{requirement}: make lock"


def test_every_file_of_the_lock_has_hashes() -> None:
    for name in ("requirements.txt", "requirements-test.txt"):
        blocks = re.findall(r"^[a-z0-9].*\n(?:    .*\n)*", (ROOT / "deploy" / name).read_text(), re.MULTILINE)
        assert len(blocks) > 50
        assert all("--hash=sha256:" in block for block in blocks)


def test_the_locked_versions_are_installed_with_all_that_they_need() -> None:
    python = ".".join(platform.python_version_tuple()[:2])
    lock = {**locked("requirements.txt", python), **locked("requirements-test.txt", python)}
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    replaced = {canonicalize_name(item["name"]) for item in tools["dependency-metadata"]}
    wrong = []
    for name, requirement in lock.items():
        try:
            if version(name) != pinned(requirement):
                wrong.append(f"{name} {version(name)} is installed: make setup")
        except PackageNotFoundError:
            wrong.append(f"{name} is not installed: make setup")
            continue
        for need in map(Requirement, () if name in replaced else requires(name) or ()):
            if applies(need, python) and canonicalize_name(need.name) not in {*lock, *UNLOCKED}:
                wrong.append(f"{name} needs {need}, which is not in the lock: make lock")
    assert not wrong


@pytest.mark.parametrize("python", ["", "python2.7"])
def test_a_python_that_does_not_fit_ends_with_the_line_that_says_which_do(
    tmp_path: Path, python: str
) -> None:
    command = ["make", "setup", f"PYTHON={python}", f"VENV={tmp_path}/venv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "Python 3.11, 3.12 or 3.13" in line
