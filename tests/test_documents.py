"""The documents: every relative link leads to a file and a heading, every file that they name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("apps", "benchmarks", "bundle_configs", "infers", "pool", "server", "strategies", "trainers")
OURS = (*PACKAGES, "docs", "tests")
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(
        file for folder in OURS for file in (ROOT / folder).rglob("*.md") if "node_modules" not in file.parts
    ),
]
# written by programs, with paths as they were; filled in by programs
NOT_OURS = (ROOT / "benchmarks" / "results", ROOT / "benchmarks" / "own_data" / "templates")
HAND_WRITTEN = [file for file in DOCUMENTS if not set(NOT_OURS) & set(file.parents)]
# what CONTRIBUTING.md makes up
EXAMPLES = ("apps/liver_ct/", "apps/abdomen/", "bundle_configs/liver_ct/", "bundle_configs/abdomen/")


def without_code(text: str) -> str:
    """A document without its blocks of code, in which nothing is a link or a heading."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(?:(?<=\n\n)|(?<=\A))(?: {4,}.*\n+)+", "", text)


@cache
def anchors(file: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_code(file.read_text(encoding="utf-8")), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = sum(other == anchor or re.fullmatch(rf"{anchor}-\d+", other) is not None for other in found)
        found.add(f"{anchor}-{count}" if count else anchor)
    return found


def links(file: Path) -> Iterator[str]:
    """Targets of a document's relative links and pictures."""
    text = re.sub(r"`[^`\n]*`", "", without_code(file.read_text(encoding="utf-8")))
    for target in re.findall(r"\]\(([^()\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", HAND_WRITTEN, ids=name_of)
def test_links_lead_somewhere(file: Path) -> None:
    broken = []
    for target in links(file):
        path, _, anchor = target.partition("#")
        there = (file.parent / path).resolve() if path else file
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("file", HAND_WRITTEN, ids=name_of)
def test_files_that_are_named_are_there(file: Path) -> None:
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)`", file.read_text(encoding="utf-8"))
    ours = [name for name in named if name.split("/")[0] in OURS and not name.startswith(EXAMPLES)]
    assert not [name for name in ours if not (ROOT / name).exists()]


def test_documents_that_the_code_names_are_there() -> None:
    """In messages of the server, and in docstrings."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    files += [ROOT / name for name in ("Makefile", "setup.cfg")]
    named = {
        name for file in files for name in re.findall(r"docs/[\w/-]+\.md", file.read_text(encoding="utf-8"))
    }
    bundles = {"docs/README.md"}  # of a bundle that is given away
    assert named and not [name for name in named - bundles if not (ROOT / name).exists()]


def test_every_page_is_listed() -> None:
    """From the start page of the documents."""
    listed = {
        (ROOT / "docs" / target.partition("#")[0]).resolve() for target in links(ROOT / "docs/README.md")
    }
    assert not {name_of(page) for page in (ROOT / "docs").rglob("*.md")} - {
        "docs/README.md",
        *(name_of(page) for page in listed if page.is_relative_to(ROOT)),
    }


def test_tests_that_the_threat_model_names_are_there() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    gone = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert not gone
