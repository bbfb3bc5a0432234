"""The commands in the documents: each exists, and has the options and settings that are written there."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks.phantoms.generate import generate
from bundle_configs import Bundle
from strategies.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("benchmarks", "bundle_configs", "infers", "pool", "server", "strategies", "trainers")
BUNDLES = ("brain_mri", "cxr_heart_lungs", "cxr_lungs", "volumes")


def blocks(text: str) -> Iterator[str]:
    """Yield the blocks of code of a document, fenced or indented."""
    yield from re.findall(r"^ *```(?:bash|sh|console)?\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"(?:(?<=\n\n)|(?<=\A)|(?<=\n))((?: {4,}\S.*\n)+)", text)


def commands(file: Path) -> list[list[str]]:
    """Return the words of each command of ours in a document, with its variables filled in."""
    found = []
    for block in blocks(file.read_text(encoding="utf-8")):
        variables: dict[str, str] = {}
        for line in block.replace("\\\n", " ").splitlines():
            if assigned := re.fullmatch(r'\s*(\w+)="(.*)"', line):
                variables[assigned[1]] = assigned[2]
                continue
            for name, value in variables.items():
                line = line.replace(f"${name}", value)
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # no command line, but prose or a table
                continue
            if words and Path(words[0]).name in ("scan-selection", "python", "monailabel", "make"):
                found.append(words)
    return found


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@cache
def tree(module: str) -> Any:
    """Return the click command of a module with a typer app or a `main`; None for one without options."""
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    if isinstance(app := getattr(found, "app", None), typer.Typer):
        return typer.main.get_command(app)
    if callable(main := getattr(found, "main", None)):
        app = typer.Typer()
        app.command()(main)
        return typer.main.get_command(app)
    return None


def unknown_options(command: Any, words: list[str]) -> list[str]:
    """Return the options among the words that a click command, or the subcommand they name, lacks."""
    while hasattr(command, "commands") and words and words[0] in command.commands:
        name, words = words[0], words[1:]
        command = command.commands[name]
        if name in ("new-app", "dicom-in"):  # imported when they are run
            command = tree(f"server.cli.{name.replace('-', '_')}")
    if hasattr(command, "commands") and words and not words[0].startswith("-"):
        return words[:1]  # no such command
    known = {"--help", *(o for p in command.params for o in (*p.opts, *p.secondary_opts))}
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [option for option in given if option not in known]


@cache
def start_server() -> set[str]:
    """Return the options of MONAI Label's own command."""
    from monailabel.main import Main

    (subparsers,) = (a for a in Main().args_parser()._actions if a.dest not in ("help", "version"))
    parser = subparsers.choices["start_server"]  # type: ignore[index, call-overload]
    return {option for action in parser._actions for option in action.option_strings}


def wrong_words(words: list[str]) -> list[str]:
    """Return what a documented command names that does not exist."""
    program, rest = Path(words[0]).name, words[1:]
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        rest = rest[2:] if rest[:1] == ["-C"] else rest  # a folder
        pairs = [word.partition("=")[0] for word in rest if "=" in word]
        targets = [word for word in rest if "=" not in word]
        wrong = [t for t in targets if not re.search(rf"^{re.escape(t)}:", makefile, re.MULTILINE)]
        return wrong + [name for name in pairs if not re.search(rf"\b{name}\b", makefile)]
    if program == "monailabel":
        return [word for word in rest if re.match(r"--?[a-z]", word) and word not in start_server()]
    if program == "scan-selection":
        return unknown_options(tree("server.cli.main"), rest)
    if rest[:1] != ["-m"] or rest[1].split(".")[0] not in PACKAGES:
        return []  # of others
    command = tree(rest[1])
    return unknown_options(command, rest[2:]) if command else [w for w in rest[2:] if w.startswith("-")]


def wrong_settings(words: list[str]) -> list[str]:
    """Return the keys of `--conf`, also within CONF="...", that no app has."""
    inner = [part for word in words for part in shlex.split(word) if word.startswith("CONF=")]
    inner = [part.removeprefix("CONF=") for part in inner]
    all_words = [*words, *inner]
    known = {item.name for item in fields(Settings)}.union(*(Bundle(name).overrides for name in BUNDLES))
    keys = [all_words[i + 1].partition("=")[0] for i, w in enumerate(all_words[:-1]) if w == "--conf"]
    return [key for key in keys if key not in known and key.isidentifier() and key.islower()]


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_commands_have_the_options_that_documents_name(file: Path) -> None:
    wrong = {shlex.join(words): found for words in commands(file) if (found := wrong_words(words))}
    assert not wrong


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_settings_that_documents_name_exist(file: Path) -> None:
    assert not [found for words in commands(file) if (found := wrong_settings(words))]


def test_documents_are_read() -> None:
    """The check sees commands, in blocks of both kinds, over several lines, and mistakes in them."""
    named = [words for file in DOCUMENTS for words in commands(file)]
    programs = {Path(words[0]).name for words in named}
    assert len(named) > 60 and programs == {"scan-selection", "make", "python", "monailabel"}
    assert wrong_words(["scan-selection", "status", "--studeis", "x"]) == ["--studeis"]
    assert wrong_words(["scan-selection", "statsu"]) == ["statsu"]
    assert wrong_words(["monailabel", "start_server", "--hots", "x"]) == ["--hots"]
    assert wrong_words(["make", "sevre", "STUDEIS=x"]) == ["sevre", "STUDEIS"]
    assert wrong_settings(["make", "serve", "CONF=--conf alhpa 0.5 --conf alpha 1"]) == ["alhpa"]


def test_quick_commands_run(tmp_path: Path, long: bool) -> None:
    """Those of the page on the command line, on a small pool, and the lists of settings."""
    if not long:
        pytest.skip("runs with --long")
    studies = tmp_path / "xrays"
    generate(tmp_path / "made", count=8, seed=1, size=64)
    shutil.copytree(tmp_path / "made" / "studies", studies)
    final = studies / "labels" / "final"
    final.mkdir(parents=True)
    for name in ("a", "b"):
        image = sorted(studies.glob("phantom*"))[0]
        shutil.copy(tmp_path / "made" / "labels" / image.name, final / f"{name}.png")
        image.rename(studies / f"{name}.png")
    page = commands(ROOT / "docs" / "how-to" / "command-line.md")
    run = [words for words in page if words[1:2] not in (["confirm"], ["serve"]) and len(words) > 2]
    others = commands(ROOT / "docs" / "how-to" / "serve.md")
    run += [words for words in others if words[2:3] == ["server.config"]]
    bin = Path(sys.executable).parent
    for words in run:
        line = [str(bin / Path(words[0]).name), *(w.replace("/data/xrays", str(studies)) for w in words[1:])]
        line = [str(ROOT / "apps" / "cxr_lungs") if w == "apps/cxr_lungs" else w for w in line]
        done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
