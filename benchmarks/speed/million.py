"""A pool of a million images without a server or files: time and memory of planning and handing out.

python -m benchmarks.million --images 1000000 --out runs/million

Each size runs in its own process to measure its own peak memory. The map and the entropies are random: only
the steps after them are measured.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.annotator import write_json
from benchmarks.hardware import processor, today
from pool.database.state import State
from pool.protocol import Finding, LabelCheck, RefusedLabel
from strategies.context import FIRST, LATER, Context
from strategies.planning.planner import Planner
from strategies.settings import Settings
from strategies.snapshot import PoolSnapshot
from strategies.strategy import all_strategies

_BUDGET, _LABELLED, _CLICKS, _CLUSTERS = 100, 100, 50, 12
_MODEL = "model"
_BATCH_ROWS = 10_000  # entropies per transaction


class Names:
    """A datastore of ids only, some of them labelled."""

    def __init__(self, count: int) -> None:
        self._images = [f"image_{n:08d}" for n in range(count)]
        self._known, self._labelled = set(self._images), set[str]()

    def label(self, images: list[str]) -> None:
        self._labelled.update(images)

    def list_images(self) -> list[str]:
        return self._images

    def get_labeled_images(self) -> list[str]:
        return sorted(self._labelled)

    def has_image(self, image_id: str) -> bool:
        return image_id in self._known

    def is_labelled(self, image_id: str) -> bool:
        return image_id in self._labelled

    def count_labelled(self) -> int:
        return len(self._labelled)

    def get_image_uri(self, image_id: str) -> str:
        return image_id

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        return ""

    def fingerprints(self, images: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(images, "")

    def refresh(self) -> None:
        """Do nothing: there are no changes."""

    take_over_changes = refresh

    # all files and labels are good

    ignored_files = unwritable = ""
    unchecked_labels: frozenset[str] = frozenset()
    unedited_labels: frozenset[str] = frozenset()
    refused_labels: Mapping[str, RefusedLabel] = {}
    newest_check = 0

    def label_fingerprints(self, images: Sequence[str] | None = None) -> dict[str, str]:
        return {}

    def check_label(self, image_id: str, notes: list[str] | None = None) -> Finding:
        return Finding("")

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        return {}

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        return {}

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: Any) -> str:
        raise NotImplementedError("there are only names")

    def take_in_checks(self, checks: Iterable[LabelCheck]) -> None:
        """Do nothing: there are no checks."""


def clustered_map(count: int, seed: int = 1) -> np.ndarray:
    """Return a map (count, 2) of overlapping Gaussian clusters, like those of t-SNE."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(_CLUSTERS, 2)) * 4
    return np.asarray(centres[random.integers(0, _CLUSTERS, count)] + random.normal(size=(count, 2)))


def measure(count: int) -> dict[str, float]:
    """Measure processor seconds of each step, milliseconds per hand-out, and MB of database and memory."""
    store, results = Names(count), dict[str, float]()
    names = store.list_images()

    def step(name: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        results[name] = time.process_time() - started
        return result

    with tempfile.TemporaryDirectory() as folder:
        context = Context(State(Path(folder), migrate=True), Settings(cold_start_budget=_BUDGET), "none")
        state = context.state
        points, values = clustered_map(count), np.random.default_rng(2).uniform(0.1, 0.6, count).tolist()
        step("write_map_s", lambda: state.maps.add(context.layout_key, dict.fromkeys(names, "mark"), points))
        step("read_map_s", context.layout)
        planner = Planner(context)
        step("cold_plan_s", lambda: planner.make(PoolSnapshot.of(context, store), planner.series(FIRST.name)))
        results["click_cold_ms"] = _click_ms(context, store)
        store.label(names[:: count // _LABELLED][:_LABELLED])
        state.models.add(_MODEL, store.get_labeled_images(), {})
        step("write_entropies_s", lambda: _add_entropies(state, names, values))
        results["click_bridging_ms"] = _click_ms(context, store)
        pool = PoolSnapshot.of(context, store)
        step("active_plan_s", lambda: planner.make(pool, planner.series(LATER.name)))
        results["click_active_ms"] = _click_ms(context, store)
        results["database_mb"] = sum(f.stat().st_size for f in Path(folder).rglob("pool.db*")) / 1e6
    results["peak_memory_mb"] = _peak_memory_mb()
    return results


def _peak_memory_mb() -> float:
    """Return this process's own peak (Linux); `ru_maxrss` starts at the parent process's value."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _add_entropies(state: State, names: list[str], values: list[float]) -> None:
    for at in range(0, len(names), _BATCH_ROWS):
        state.scores.add_entropies(
            _MODEL, dict(zip(names[at : at + _BATCH_ROWS], values[at : at + _BATCH_ROWS], strict=True))
        )


def _click_ms(context: Context, store: Names) -> float:
    """Return the median wait for the next image, for one annotator who releases each image.

    The first click is not counted.
    """
    select, request, times = all_strategies(context)["auto"], {"client_id": "one"}, list[float]()
    for _ in range(_CLICKS):
        started = time.perf_counter()
        request["release"] = select(request, store)["id"]
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[1:])


def measure_apart(count: int) -> dict[str, float]:
    """Run `measure` in its own process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as one:
        return one.submit(measure, count).result()


def main(
    images: Annotated[list[int], typer.Option(help="Size of the pool; may be repeated")],
    out: Annotated[
        Path, typer.Option(help="Folder for million.json; sizes already in it are not measured again")
    ],
) -> None:
    """Measure each size; print and save the results."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "million.json"
    kept = json.loads(file.read_text()) if file.exists() else {"sizes": {}}
    for count in images:
        if str(count) not in kept["sizes"]:
            kept["sizes"][str(count)] = measure_apart(count)
            write_json(file, kept | {"processor": processor(), "date": today()})
        typer.echo(f"{count} images: " + json.dumps(kept["sizes"][str(count)], indent=1))


if __name__ == "__main__":
    typer.run(main)
