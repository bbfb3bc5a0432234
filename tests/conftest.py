"""Fixtures for all tests."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest

from tests import forked, postgres
from tests.options import missing_service

os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers would wait for all other tests


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep states and records of the servers under test out of the user's own data folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def server_processes(request: pytest.FixtureRequest, data_folder: None) -> Iterator[None]:
    """Fork the servers of tests, but in the long form start each as a command."""
    with nullcontext() if request.config.getoption("--long") else forked.servers():
        yield


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Tell whether the tests run in their long form (`--long`): whole sizes and numbers."""
    return bool(request.config.getoption("--long"))


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


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest) -> Iterator[postgres.Cluster]:
    """A PostgreSQL server of the tests' own; skips the test when Debian's package is not installed."""
    bin = postgres.programs()
    if bin is None:
        missing_service(request.config, "no PostgreSQL: apt-get install postgresql")
    assert bin is not None
    with postgres.cluster(bin) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Return the value of the setting `database`: a test that uses it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return ""
    cluster: postgres.Cluster = request.getfixturevalue("postgresql")
    return cluster.new_database()


@pytest.fixture(scope="module")
def mounted() -> Iterator[Callable[..., None]]:
    """Mounts with the words of `mount`, until the module ends; skips where that is not allowed."""
    done: list[str] = []

    def mount(*words: str) -> None:
        said = subprocess.run(["mount", *words], capture_output=True, text=True)
        if said.returncode:
            pytest.skip(f"mounting is not allowed here: {said.stderr.strip()}")
        done.append(words[-1])

    yield mount
    for path in dict.fromkeys(done):
        subprocess.run(["umount", "--lazy", path], check=True)
