"""Running the cells of a search, in this process or several at a time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.annotator import write_json
from benchmarks.search.cell import SearchCell, run_cell
from benchmarks.search.data import SearchData, read_data
from benchmarks.search.plans import COVERAGE, SearchPlan

Todo = Sequence[tuple[str, SearchCell]]  # with the phase of each
Sources = tuple[Path, Path, Path | None, Path]  # images, labels, weights, cache
_data: SearchData  # of a process that runs cells


def run_cells(todo: Todo, plan: SearchPlan, sources: Sources, folder: Path, jobs: int) -> None:
    """Run cells and write one file for each into `folder`, `jobs` at a time, each on one thread.

    Raises ImageError, LabelError or ValueError for data that cannot be used, and what a cell raises.
    """
    if not todo:
        return
    heads = any(phase != COVERAGE for phase, _ in todo)
    _load(plan, sources, heads)  # computes what is missing of the features, for the other processes too
    if jobs == 1:
        for phase, cell in tqdm(todo, unit="cell", disable=None):
            _run(phase, cell, plan, folder)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, _load, (plan, sources, heads)) as pool:
        futures = [pool.submit(_run, phase, cell, plan, folder) for phase, cell in todo]
        for future in tqdm(as_completed(futures), total=len(futures), unit="cell", disable=None):
            future.result()


def _load(plan: SearchPlan, sources: Sources, heads: bool) -> None:
    global _data
    torch.set_num_threads(1)
    _data = read_data(plan, *sources, heads)


def _run(phase: str, cell: SearchCell, plan: SearchPlan, folder: Path) -> None:
    result = run_cell(cell, plan, _data, phase != COVERAGE)
    write_json(folder / f"{cell.name(plan)}.json", result)
