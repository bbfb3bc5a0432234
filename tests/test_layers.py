"""Allowed imports: arrows between the rooms of the house point down, and nowhere in a circle.

Imports inside functions count, since they are imports all the same.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pydoc
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pool.aliases import MOVED

ROOT = Path(__file__).parents[1]
# from the lowest to the highest; a package imports itself and what stands before it
ORDER = ("pool", "bundle_configs", "infers", "trainers", "strategies", "server", "apps", "benchmarks")
# the rooms of pool: what each may import beside what they share
POOL = {
    "imaging": set(),
    "datastore": {"imaging"},
    "dicomweb": {"imaging"},
    "dicom_export": {"imaging"},
    "database": set(),
    "backup": {"database"},
}
SHARED = ("aliases", "errors", "files", "protocol", "groups", "label_states", "dataset_archive", "left_notes")


def modules() -> dict[str, Path]:
    """{dotted name: file} of all our packages."""
    files = [file for package in ORDER for file in (ROOT / package).rglob("*.py")]
    dotted = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in dotted.items()}


MODULES = modules()


def imported(file: Path) -> Iterator[str]:
    """Our modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in whole]
        yield from (name for name in names if name in MODULES)


@cache
def imports() -> dict[str, set[str]]:
    """{our module: those that it imports}."""
    return {name: set(imported(file)) - {name} for name, file in MODULES.items()}


@pytest.mark.parametrize("package", ORDER)
def test_arrows_between_packages_point_down(package: str) -> None:
    allowed = ORDER[: ORDER.index(package) + 1]
    own = {name: found for name, found in imports().items() if name.split(".")[0] == package}
    assert own
    wrong = {
        name: up
        for name, found in own.items()
        if (up := {n for n in found if n.split(".")[0] not in allowed})
    }
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize("room", POOL)
def test_arrows_between_the_rooms_of_the_pool(room: str) -> None:
    own = {name: found for name, found in imports().items() if name.startswith(f"pool.{room}.")}
    assert own
    allowed = {room, *SHARED, *POOL[room]}
    wrong = {
        name: up
        for name, found in own.items()
        if (up := {n for n in found if n.split(".")[1] not in allowed})
    }
    assert not any(wrong.values()), wrong


def test_selectors_know_nothing_of_the_rest() -> None:
    own = {name: found for name, found in imports().items() if name.startswith("strategies.selectors")}
    assert own and all(n.startswith("strategies.selectors") for found in own.values() for n in found)


def test_what_the_rooms_share_imports_no_store() -> None:
    for name in SHARED:
        assert not {n for n in imports()[f"pool.{name}"] if n.split(".")[1] not in (*SHARED, "imaging")}


def reached(start: str) -> set[str]:
    """Modules that importing one imports, and what these import."""
    found, left = set[str](), [start]
    while left:
        new = imports()[left.pop()] - found
        found |= new
        left += new
    return found


def test_there_is_no_circle() -> None:
    circles = set()
    after = {name: reached(name) for name in MODULES}
    for name, later in after.items():
        if name in later:
            circles.add(frozenset({other for other in later if name in after[other]}))
    assert not circles


@pytest.mark.parametrize("name", MOVED)
def test_modules_that_moved_are_found_under_their_former_names(name: str) -> None:
    """People's apps and bundles name them, documents their commands."""
    moved = importlib.import_module(MOVED[name])
    assert importlib.import_module(name) is moved
    assert moved.__name__ == moved.__spec__.name == MOVED[name]


def test_an_unknown_module_is_none() -> None:
    with pytest.raises(ModuleNotFoundError, match="pool.nothing"):
        importlib.import_module("pool.nothing")


def test_a_bundle_names_a_class_by_its_former_module() -> None:
    from pool.imaging.images import ReadImaged

    assert pydoc.locate("pool.images.ReadImaged") is ReadImaged


def documented() -> list[str]:
    """The modules that documents run: `python -m ...`."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *MODULES.values()]
    text = "".join(file.read_text() for file in files)
    names = set(re.findall(rf"python -m ((?:{'|'.join(ORDER)})(?:\.\w+)+)(?![.\w])", text))
    return sorted(name for name in names if not name.endswith(".base"))


@pytest.mark.parametrize("command", documented())
def test_documented_commands_are_there(command: str) -> None:
    spec = importlib.util.find_spec(command)
    if spec and spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{command}.__main__")
    assert spec and spec.loader and spec.origin
    assert "__main__" in spec.origin or '__name__ == "__main__"' in Path(spec.origin).read_text()
    assert spec.loader.get_code(spec.name)  # type: ignore[attr-defined]
