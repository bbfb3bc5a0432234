"""A method is declared once: its own package, and one file, are enough for the whole project to know it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from strategies.selectors import random
from strategies.selectors.registry import METHODS, Round, method, method_of_key

ROOT = Path(__file__).parents[3]
MODULE = '''
"""The images with the lowest rows."""
import numpy as np
from strategies.selectors.registry import method
from strategies.selectors.rules.availability import in_turns
from strategies.selectors.rules.checks import check_budget, check_points, check_rows
from strategies.selectors.rules.selection import Selection

@method("oldest", paper="ours", needs="{needs}", text="The oldest images",
        reason="It is number {{row}} of the pool.", appends=True)
def oldest(features, budget, *, labelled=(), candidates=None, groups=None, seed=0, uncertainty=None):
    rows = check_rows(len(check_points(features)), labelled, candidates, groups)
    picks = in_turns(rows.candidates, rows.groups)[: check_budget(budget)]
    return Selection(picks, {{"role": np.full(len(picks), "oldest"), "row": picks}})
'''
ASK = """
import json, tempfile
from pathlib import Path
from benchmarks.experiments.suite import read_suite
from pool.database.state import State
from strategies.context import Context
from strategies.settings import ACTIVE_METHODS, COLD_METHODS, Settings
from strategies.strategy import all_strategies

folder = Path(tempfile.mkdtemp())
context = Context(State(folder, migrate=True), Settings(strategies="auto,oldest"), "descriptor")
suite = folder / "s.yaml"
cells = [{"budgets": ["4"], "methods": {"o": {"first": "oldest"}}}]
suite.write_text(json.dumps(dict(app="cxr_lungs", data="d", protocol="p", overrides={}, encoder="descriptor",
    test_split=0.2, seeds=[1], cells=cells, claims=[])))
print(json.dumps({"client": {n: s.description for n, s in all_strategies(context).items()},
    "suite": [c.first for c in read_suite(str(suite)).cells],
    "cold": COLD_METHODS, "active": ACTIVE_METHODS}))
"""


def install(folder: Path, needs: str = "features", module: str = "oldest_first") -> dict[str, str]:
    """Write a package with one method into a folder, as pip would; return an environment that sees it."""
    (folder / "oldest_first.py").write_text(MODULE.format(needs=needs))
    metadata = folder / "oldest_first-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: oldest-first\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[scan_selection.methods]\noldest = {module}\n")
    return os.environ | {"PYTHONPATH": f"{ROOT}:{folder}"}


def run(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("needs", ["features", "uncertainty model"])
def test_a_method_of_another_package_is_in_every_list(tmp_path: Path, needs: str) -> None:
    done = run(["-c", ASK], install(tmp_path, needs))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["client"]["oldest"] == "The oldest images" and list(found["client"]) == ["auto", "oldest"]
    assert found["suite"] == ["oldest"]
    assert ("oldest" in found["cold"], "oldest" in found["active"]) == (needs == "features", "model" in needs)


def test_the_contract_covers_it(tmp_path: Path) -> None:
    contract = str(Path(__file__).with_name("test_contract.py"))
    options = ["-c", "setup.cfg", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "oldest"]
    done = run(["-m", "pytest", *options, contract], install(tmp_path))
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    done = run(["-c", "import strategies.selectors"], install(tmp_path, module="gone"))
    assert "methods of package oldest-first cannot be imported" in done.stderr


def test_the_choices_of_auto_follow_from_the_needs() -> None:
    begin = {name for name, one in METHODS.items() if one.begins_auto}
    later = {name for name, one in METHODS.items() if one.continues_auto}
    cold = {
        "cold_start",
        "kmeans_to_budget",
        "alps",
        "calr",
        "typiclust",
        "farthest_first",
        "probcover",
        "usl",
        "usl_t",
        "vaal",
        "tail_cover",
        "maxherding",
        "random",
    }
    each = {"uherding", "foreground_cover", "foreground_uherding"}
    assert begin == cold | each
    assert later == {"active", "foreground_active", "clasp_pe", "foreground_random", "random", "vaal"} | each
    assert {name for name, one in METHODS.items() if one.each_label} == each


def test_variants_share_the_plans_of_active() -> None:
    kinds = {name for name, one in METHODS.items() if one.kind == "active"}
    assert kinds == {"active", "entropy", "diversity"}
    assert METHODS["entropy"].arguments(Round(alpha=0.7)) == {"alpha": 0.0}
    assert METHODS["active"].arguments(Round(alpha=0.7)) == {"alpha": 0.7}
    assert METHODS["clasp_pe"].arguments(Round(number=5)) == {"beta": 100.0}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("active|map|model|0.3", "active"),
        ("active|map|model|adaptive", "active"),
        ("active|map|model|0", "entropy"),
        ("active|map|model|1", "diversity"),
        ("clasp_pe|map|4|model", "clasp_pe"),
        ("random|0", "random"),
        ("farthest|map", None),
    ],
)
def test_a_plan_is_its_method_s_by_the_key(key: str, name: str | None) -> None:
    method = method_of_key(key)
    assert (method and method.name) == name


def test_a_bad_declaration_is_refused() -> None:
    with pytest.raises(ValueError, match="newest needs 'age'; choose from: features"):
        method("newest", paper="ours", text="", reason="", needs="age")
    with pytest.raises(ValueError, match="method usl is declared by strategies.selectors.usl and"):
        method("usl", paper="ours", text="", reason="")(random)
