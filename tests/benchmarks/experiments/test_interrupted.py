"""Ctrl-C on a running suite, sent as a terminal does."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.phantoms.generate import generate
from tests.benchmarks.experiments.test_suite import TINY, written
from tests.forked import start


def test_ctrl_c_ends_a_suite_and_packs_the_cells_that_finished(tmp_path: Path) -> None:
    generate(tmp_path, count=16, seed=1, size=64)
    cells, seeds = tmp_path / "out" / "cells", list(range(200))
    groups = [{"budgets": ["4"], "methods": {"random": {"first": "random"}}}]
    suite = written(tmp_path, cells=groups, claims=[], seeds=seeds, encoder=TINY["encoder"])
    line = ["-m", "benchmarks.run", suite, "--studies", f"{tmp_path / 'studies'}"]
    line += ["--labels", f"{tmp_path / 'labels'}", "--out", f"{tmp_path / 'out'}"]
    line += ["--work", f"{tmp_path / 'work'}", "--jobs", "2"]
    run = start(*line, log=tmp_path / "log")
    deadline = time.monotonic() + 120
    while not list(cells.glob("*_*_*.json")) and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.1)
    children = psutil.Process(run.pid).children(recursive=True)
    try:
        os.killpg(run.pid, signal.SIGINT)
        status, log = run.wait(60), (tmp_path / "log").read_text()
        assert psutil.wait_procs(children, timeout=10)[1] == [], "no cell runs on"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert status not in (0, 1), log
    assert not list(cells.glob("*.json")), "what had finished is packed"
    packed = [json.loads(line) for line in (cells.parent / "cells.jsonl").read_text().splitlines()]
    assert 0 < len(packed) < len(seeds), log
    assert all(cell["cell"]["method"] == "random" and cell["stages"] for cell in packed), "no half cell"
