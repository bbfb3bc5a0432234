"""Run the cells of a suite in separate processes; finished cells never run again."""

from __future__ import annotations

import json
import multiprocessing
import signal
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.annotator import write_json
from benchmarks.experiments.cell import run_cell
from benchmarks.experiments.data import Data
from benchmarks.experiments.results import CELLS, PACKED, read_cells
from benchmarks.experiments.suite import Cell, SuiteError

_PROCESSES = multiprocessing.get_context("forkserver")  # imports once, and starts no thread
_PROCESSES.set_forkserver_preload(["benchmarks.experiments.cell"])
RESULTS = Path(__file__).parents[1] / "results"


def unfinished(cells: list[Cell], folder: Path) -> list[Cell]:
    """Return the cells that have no result in `folder`.

    Raises SuiteError for a result of another configuration, and as `read_cells` does.
    """
    finished = read_cells(folder)
    for cell in cells:
        if cell.name in finished and finished[cell.name]["cell"] != cell.as_json():
            raise SuiteError(
                f"{folder} has a cell {cell.name} of another configuration: remove it there (its line in "
                f"{PACKED}, or its file in {CELLS}/), or choose another --out"
            )
    return [cell for cell in cells if cell.name not in finished]


def check_data(folder: Path, data: Data) -> None:
    """Record the identity of the data in the folder's `data.json`.

    Raises SuiteError if the folder holds cells of other data.
    """
    file, now = folder / "data.json", data.as_json()
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, now)
    elif (before := json.loads(file.read_text())) != now:
        raise SuiteError(
            f"{file}: the finished cells belong to other images or labels ({before['images']} images). Check "
            f"--studies and --labels ({now['images']} images), or choose another --out"
        )


class Jobs:
    """Runs cells in separate processes, several at a time.

    :param more: the further arguments of `run_cell`
    """

    def __init__(self, cells: list[Cell], more: tuple[Data, Path | None, Path, Path], bar: tqdm[Any]) -> None:
        self._waiting, self._arguments, self._bar = deque(cells), more, bar
        self._lock, self._is_stopped = threading.Lock(), False

    def run(self, jobs: int) -> int:
        """Run all cells, `jobs` at a time; return the number of failures."""
        with ThreadPoolExecutor(jobs) as threads:
            workers = [threads.submit(self._run_waiting) for _ in range(jobs)]
            try:
                return sum(worker.result() for worker in workers)
            except BaseException:  # Ctrl-C
                with self._lock:  # no further process starts after these have been terminated
                    self._is_stopped = True
                    for child in multiprocessing.active_children():
                        child.terminate()
                raise

    def _run_waiting(self) -> int:
        """Run waiting cells in one process until none is left; return the number of failures.

        If the process dies, its cell fails, and the next cell gets a new process.
        """
        failed, child, pipe = 0, None, None
        while True:
            with self._lock:
                if self._is_stopped or not self._waiting:
                    break
                cell = self._waiting.popleft()
                if child is None or not child.is_alive():
                    child, pipe = self._new_process()
            assert pipe is not None
            try:
                pipe.send(cell)
                problem = pipe.recv()
            except (EOFError, OSError):
                child.join()
                problem = f"its process exited with code {child.exitcode}"
            if problem and not self._is_stopped:
                failed += 1
                tqdm.write(f"{cell.name} failed: {problem}")
            self._bar.update(not problem)
        if child is not None:
            child.terminate()
        return failed

    def _new_process(self) -> tuple[Any, Connection]:
        pipe, child_pipe = _PROCESSES.Pipe()
        arguments = child_pipe, self._arguments
        child = _PROCESSES.Process(target=_run_received_cells, args=arguments, daemon=True)
        child.start()
        child_pipe.close()
        return child, pipe


def _run_received_cells(pipe: Connection, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    while True:
        try:
            run_cell(pipe.recv(), *arguments)
            pipe.send("")
        except EOFError:
            return
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")
