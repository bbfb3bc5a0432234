"""Commands and libraries that only look a pool up import none of the heavy packages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.phantoms.generate import generate
from benchmarks.server_process import ROOT

HEAVY = (
    *("torch", "monai", "monailabel", "itk", "sklearn", "highdicom"),
    *("transformers", "matplotlib", "numba"),
)
_MODULES = (
    *("strategies.context", "strategies.selectors", "strategies.planning.planner", "strategies.stages"),
    *("server.config", "server.open_pool", "server.cli", "pool.datastore.store", "bundle_configs"),
    "infers.encoders.keys",
)
_COMMAND = """
from typer.testing import CliRunner
from server.cli.main import app
done = CliRunner().invoke(app, {line})
assert done.exit_code == 0, done.output
"""


def imported(steps: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the heavy packages that a fresh process has imported after each step.

    :param steps: pieces of code by name
    """
    code = f"""
import json, sys
for name, step in {dict(steps)}.items():
    exec(step)
    print(json.dumps([name, [heavy for heavy in {HEAVY} if heavy in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


def test_looking_up_imports_nothing_heavy() -> None:
    found = imported({module: f"import {module}" for module in _MODULES})
    assert found == {module: [] for module in _MODULES}


def test_commands_import_nothing_heavy(tmp_path: Path) -> None:
    generate(tmp_path, count=4, seed=1, size=64)
    app = str(ROOT / "apps" / "cxr_lungs")
    pool = ["--app", app, "--studies", str(tmp_path / "studies"), "--conf", f"state={tmp_path / 'state'}"]
    words = {name: [name, *pool] for name in ("status", "retry")}
    words |= {name: [name, "phantom_000", *pool] for name in ("skip", "next", "hold-out", "unmark")}
    words["plan"] = ["plan", *pool]  # last: the strategies are MONAI Label's kind of strategy
    found = imported({name: _COMMAND.format(line=line) for name, line in words.items()})
    assert found == {name: ["monailabel"] if name == "plan" else [] for name in words}


def test_a_server_on_a_folder_imports_no_dicom_segmentations() -> None:
    found = imported({"server": "import monailabel.app, server.app"})
    assert not {"highdicom", "numba", "sklearn"} & set(found["server"])
