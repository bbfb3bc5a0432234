"""Measure the code itself: python -m benchmarks.house

A row per package: files and lines, functions and their length, public things with a docstring, docstrings
that open with a question word instead of saying what a thing does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

PACKAGES = (
    "pool",
    "bundle_configs",
    "infers",
    "trainers",
    "strategies",
    "server",
    "apps",
    "benchmarks",
    "tests",
)
OPENERS = ("What", "Whether", "Of", "Who", "Where", "How")
MAX_LINES, MAX_FILE = 30, 200
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def definitions(tree: ast.Module) -> Iterator[Definition]:
    """Yield all classes and functions, nested ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, _DEFINITIONS))


def public(tree: ast.Module) -> Iterator[Definition]:
    """Yield public classes and functions of a module, and the public methods of these classes."""
    for node in tree.body:
        if isinstance(node, _DEFINITIONS) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (
                    part
                    for part in node.body
                    if isinstance(part, ast.FunctionDef) and not part.name.startswith("_")
                )


def measure(files: list[Path]) -> dict[str, str]:
    """Return one row of the table. Raises SyntaxError for a file that is no Python."""
    texts = [file.read_text() for file in files]
    trees = [ast.parse(text) for text in texts]
    lines = [text.count("\n") for text in texts]
    nodes = [node for tree in trees for node in definitions(tree)]
    functions = [
        n.end_lineno - n.lineno + 1 for n in nodes if not isinstance(n, ast.ClassDef) and n.end_lineno
    ]
    shown = [node for tree in trees for node in public(tree)]
    classes = [node for node in shown if isinstance(node, ast.ClassDef)]
    docstrings = [text for node in (*trees, *nodes) if (text := ast.get_docstring(node))]
    return {
        "files": str(len(files)),
        "lines": str(sum(lines)),
        f"files > {MAX_FILE}": str(sum(count > MAX_FILE for count in lines)),
        "functions": str(len(functions)),
        "median lines": f"{median(functions or [0]):g}",
        f"> {MAX_LINES} lines": _share(sum(count > MAX_LINES for count in functions), len(functions)),
        "classes documented": _share(sum(bool(ast.get_docstring(n)) for n in classes), len(classes)),
        "public documented": _share(sum(bool(ast.get_docstring(n)) for n in shown), len(shown)),
        "question openers": str(sum(text.split()[0].rstrip(",:") in OPENERS for text in docstrings)),
    }


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def table(root: Path) -> str:
    """Return the table of a checkout as Markdown."""
    rows = {}
    for package in PACKAGES:
        if files := sorted((root / package).rglob("*.py")):
            rows[package] = measure(files)
    code = [file for name in PACKAGES[:-1] for file in sorted((root / name).rglob("*.py"))]
    rows["all but tests"] = measure(code)
    head = ["package", *rows["all but tests"]]
    lines = [head, ["---"] * len(head), *([name, *row.values()] for name, row in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(
    root: Annotated[Path, typer.Argument(help="A checkout", exists=True, file_okay=False)] = Path("."),
) -> None:
    """Print the table of a checkout."""
    typer.echo(table(root))


if __name__ == "__main__":
    typer.run(main)
