"""Damaged files of every format: each is read or refused by name, and none stops or crashes its reader.

There are 1,000 with `--long`, or as many as `--fuzz-files` says; `--real-data DIR` damages real images too. A
number in a failure makes the same file again (`damaged.damaged`).
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.pool.imaging.damaged import damaged, phantoms, read_all

MAX_SECONDS = 20  # of processor time for one file, so that other work on the machine does not count
_MAX_WAIT = 300.0  # seconds for one that does nothing
MAX_MEMORY = 12 * 2**30  # bytes of address space


def sources(request: pytest.FixtureRequest, folder: Path) -> list[Path]:
    folder.mkdir()
    files = phantoms(folder)
    if given := request.config.getoption("--real-data"):
        files += sorted((Path(given) / "montgomery" / "images").iterdir())[:3]
        files += sorted(Path(given).rglob("*.nii.gz"))[:3]
    return files


def _read(files: list[Path], numbers: range, folder: Path, said: Connection) -> None:
    """Read damaged files one after another, and say the number before and the result after each."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    by_name = {path.name: path for path in files}
    for number in numbers:
        path = damaged(files, number, folder)
        most = math.ceil(time.process_time()) + MAX_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))  # then SIGXCPU ends it
        said.send((number, None))
        try:
            refusals = read_all(path, by_name["grey.png"], by_name["v.nii.gz"])
        except BaseException as error:
            said.send((number, f"{path.name}: {type(error).__name__}: {error}"))
        else:
            said.send((number, len(refusals)))
        path.unlink()


def test_a_damaged_file_is_read_or_refused_by_name(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    files, count = sources(request, tmp_path / "whole"), request.config.getoption("--fuzz-files")
    failures, refused, number = [], 0, 0
    while number < count:  # a reader that crashes or hangs is replaced by another
        heard, said = multiprocessing.Pipe(duplex=False)
        arguments = (files, range(number, count), tmp_path, said)
        reader = multiprocessing.get_context("spawn").Process(target=_read, args=arguments)
        reader.start()
        said.close()
        try:
            while heard.poll(_MAX_WAIT):
                number, result = heard.recv()
                if isinstance(result, str):
                    failures.append(f"{number}: {result}")
                elif result is not None:
                    refused += bool(result)
            failures.append(f"{number}: {files[number % len(files)].name} hangs")
        except EOFError:
            reader.join()
            if reader.exitcode:
                failures.append(f"{number}: {files[number % len(files)].name} ended with {reader.exitcode}")
        reader.kill()
        number += 1
    assert not failures, "\n".join(failures)
    assert refused > count / 4, "most damage is noticed"
