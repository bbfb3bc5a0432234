"""Finished cells of a suite: the lines of `cells.jsonl`, and files in `cells/` that are not packed yet.

A running suite writes each cell to its own file, so that a kill loses nothing and several processes can
write. `pack` moves the files into `cells.jsonl`, one cell per line. Read cells only through `read_cells`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from benchmarks.experiments.suite import SuiteError, cell_name
from pool.files import sync_folder, write_atomically

CELLS = "cells"
PACKED = "cells.jsonl"


class _Record(NamedTuple):
    """A finished cell and its source: the file, or the file and line."""

    source: str
    name: str
    content: dict[str, Any]

    @property
    def line(self) -> str:
        return json.dumps(self.content, sort_keys=True, separators=(",", ":"))


def read_cells(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the finished cells of a results folder by name, packed or not.

    Raises SuiteError for a damaged line or file, or a cell with two different results.
    """
    # files first: a file that another command packs and removes in between is in cells.jsonl by then
    files = [record for _, record in _read_files(folder)]
    return {name: record.content for name, record in _merge(files + _read_lines(folder)).items()}


def pack(folder: Path) -> None:
    """Move the files of finished cells into `cells.jsonl`, sorted by cell name.

    The files are removed once `cells.jsonl` is on the disk. Raises SuiteError as `read_cells` does, and then
    changes nothing.
    """
    if not any((folder / CELLS).glob("*.json")):
        return
    with FileLock(folder / ".lock"):
        files = _read_files(folder)
        records = _merge(_read_lines(folder) + [record for _, record in files])
        lines = [f"{records[name].line}\n" for name in sorted(records)]
        write_atomically(folder / PACKED, "".join(lines).encode())
        for path, _ in files:
            path.unlink(missing_ok=True)
        sync_folder(folder / CELLS)
        # the empty folder stays: another command may be about to write into it


@contextmanager
def packing(folder: Path) -> Iterator[None]:
    """Pack cells left by a killed command on entry, and new ones on exit, even after Ctrl-C or an error."""
    pack(folder)
    try:
        yield
    finally:
        pack(folder)


def _read_files(folder: Path) -> list[tuple[Path, _Record]]:
    files = []
    for path in sorted((folder / CELLS).glob("*.json")):
        with suppress(FileNotFoundError):  # packed meanwhile
            record = _parse(str(path), path.read_text(errors="replace"))
            if record.name != path.stem:
                raise SuiteError(f"{path} holds the cell {record.name}: rename the file, or remove it")
            files.append((path, record))
    return files


def _read_lines(folder: Path) -> list[_Record]:
    path = folder / PACKED
    text = path.read_text(errors="replace").rstrip("\n") if path.exists() else ""
    lines = text.split("\n") if text else []
    return [_parse(f"{path}, line {number}", line) for number, line in enumerate(lines, start=1)]


def _parse(source: str, text: str) -> _Record:
    try:
        content = json.loads(text)
        name = cell_name(*(content["cell"][key] for key in ("method", "budget", "seed")))
    except (ValueError, KeyError, TypeError) as error:
        raise SuiteError(
            f"{source}: not a finished cell ({type(error).__name__}: {error}); restore it, or remove it and "
            "the cell runs again"
        ) from error
    return _Record(source, name, content)


def _merge(records: list[_Record]) -> dict[str, _Record]:
    merged: dict[str, _Record] = {}
    for record in records:
        other = merged.setdefault(record.name, record)
        if other is not record and other.line != record.line:
            raise SuiteError(
                f"{other.source} and {record.source} hold different results of one cell: remove one of them"
            )
    return merged
