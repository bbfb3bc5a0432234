"""Commands and libraries that only look a pool up import none of the heavy packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.phantoms.generate import generate
from benchmarks.server_process import ROOT

HEAVY = (
    *("torch", "monai", "monailabel", "itk", "sklearn", "highdicom"),
    *("transformers", "matplotlib", "numba"),
)
_COMMAND = """
import sys
from typer.testing import CliRunner
from server.cli.main import app
done = CliRunner().invoke(app, {line})
assert done.exit_code == 0, done.output
"""


def imported(code: str) -> list[str]:
    """Return the heavy packages that a fresh process has imported after running `code`."""
    report = f"\nimport json, sys\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module",
    [
        "strategies.context",
        "strategies.selectors",
        "strategies.planning.planner",
        "strategies.stages",
        "server.config",
        "server.open_pool",
        "server.cli",
        "pool.datastore.store",
        "bundle_configs",
        "infers.encoders.keys",
    ],
)
def test_looking_up_imports_nothing_heavy(module: str) -> None:
    assert imported(f"import {module}") == []


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Make a small pool; return the options that name it."""
    folder: Path = tmp_path_factory.mktemp("pool")
    generate(folder, count=4, seed=1, size=64)
    app = str(ROOT / "apps" / "cxr_lungs")
    return ["--app", app, "--studies", str(folder / "studies"), "--conf", f"state={folder / 'state'}"]


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("status", []),
        ("plan", ["monailabel"]),  # the strategies are MONAI Label's kind of strategy
        ("retry", []),
        ("skip", []),
        ("next", []),
        ("hold-out", []),
        ("unmark", []),
    ],
)
def test_commands_import_nothing_heavy(pool: list[str], command: str, more: list[str]) -> None:
    images = [] if command in ("status", "plan", "retry") else ["phantom_000"]
    assert imported(_COMMAND.format(line=[command, *images, *pool])) == more


def test_a_server_on_a_folder_imports_no_dicom_segmentations() -> None:
    found = imported("import monailabel.app, server.app")
    assert not {"highdicom", "numba", "sklearn"} & set(found)
