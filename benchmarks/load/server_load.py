"""Time per click and clicks per second against the size of the pool, for our server and MONAI Label's.

python -m benchmarks.load.server_load --out runs/load --keep benchmarks/results/server_load
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import requests
import typer

from benchmarks.annotator import write_json
from benchmarks.hardware import processor, today
from benchmarks.load.large_pool import make_state, make_studies
from benchmarks.server_process import Server
from strategies.settings import Settings

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend must be chosen first)

_BUDGET, _CLIENTS = 1_000, 32
_SETTLE_SECONDS = 20.0  # lets the scan of the pool after the start finish: it is not measured
_STOCK = Path(__file__).parent / "stock_app"
_STRATEGIES = {"ours": ("auto", "random"), "stock": ("random", "first")}


class Asker:
    """A client that releases each image with its next click, so that the pool is not used up."""

    def __init__(self, url: str, strategy: str, name: str, ours: bool) -> None:
        self._url, self._session = f"{url}/activelearning/{strategy}", requests.Session()
        self._request, self._ours = {"client_id": name}, ours

    def click(self) -> float:
        """Request an image; return the milliseconds until the answer."""
        started = time.perf_counter()
        answer = self._session.post(self._url, json=self._request, timeout=600)
        milliseconds = (time.perf_counter() - started) * 1000
        answer.raise_for_status()
        if self._ours:
            self._request["release"] = answer.json()["id"]
        return milliseconds


def measure(url: str, strategy: str, ours: bool, clicks: int, seconds: float) -> dict[str, float]:
    """Time one client's clicks one by one (ms), then those of `_CLIENTS` in parallel (per second)."""
    one = Asker(url, strategy, "one", ours)
    first = one.click()
    deadline, times = time.monotonic() + 120, list[float]()
    while len(times) < clicks and (len(times) < 10 or time.monotonic() < deadline):
        times.append(one.click())
    p50, p99 = np.percentile(times, (50, 99))
    return {
        "clicks": len(times),
        "first": first,
        "p50": float(p50),
        "p99": float(p99),
        "per_second": _parallel_rate(url, strategy, ours, seconds),
    }


def _parallel_rate(url: str, strategy: str, ours: bool, seconds: float) -> float:
    done, end = [0] * _CLIENTS, time.monotonic() + seconds

    def work(number: int) -> None:
        asker = Asker(url, strategy, f"c{number}", ours)
        while time.monotonic() < end:
            asker.click()
            done[number] += 1

    started = time.monotonic()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - started)


@contextmanager
def pool_of(count: int, out: Path, whose: str) -> Iterator[tuple[str, float]]:
    """Run a server on a pool of `count` images; yield its address and its start-up time in seconds."""
    folder = out / f"{whose}-{count}"
    shutil.rmtree(folder, ignore_errors=True)
    paths = make_studies(folder / "studies", count)
    conf: dict[str, Any] = {}
    if whose == "ours":
        settings = Settings(cold_start_budget=_BUDGET, max_open=1_000)
        make_state(folder / "state", paths, settings)
        conf = {
            "hold_out": 0,
            "state": folder / "state",
            "cold_start_budget": _BUDGET,
            "max_open": 1_000,
            "duplicates": "off",  # a few images under many names
        }
    started = time.monotonic()
    env = {"MONAI_LABEL_DATASTORE_FILE_EXT": '["*.png"]'}
    app = "cxr_lungs" if whose == "ours" else str(_STOCK)
    with Server(app, folder / "studies", conf, folder / "server.log", env=env) as server:
        server.wait(3_600)
        start_seconds = time.monotonic() - started
        time.sleep(_SETTLE_SECONDS)
        yield server.url, start_seconds
    shutil.rmtree(folder)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot the median click against the size of the pool."""
    figure, axis = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    for name in dict.fromkeys((row["server"], row["strategy"]) for row in rows):
        mine = [row for row in rows if (row["server"], row["strategy"]) == name]
        style = "o-" if name[0] == "ours" else "s--"
        axis.plot([r["images"] for r in mine], [r["p50"] for r in mine], style, label=f"{name[0]}: {name[1]}")
    axis.set(xscale="log", yscale="log", xlabel="images in the pool", ylabel="median click (ms)")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| images | server | strategy | start s | first click ms | p50 ms | p99 ms | clicks/s, 32 clients |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['images']:,} | {r['server']} | {r['strategy']} | {r['start']:.1f} | {r['first']:.0f} | "
        f"{r['p50']:.1f} | {r['p99']:.1f} | {r['per_second']:.3g} |"
        for r in rows
    ]
    return "\n".join(lines)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pools, each removed after its measurement")],
    keep: Annotated[Path, typer.Option(help="Folder for load.json, the table and the plot")],
    sizes: Annotated[list[int], typer.Option(help="Images in the pool")] = [1_000, 10_000, 100_000],  # noqa: B006
    clicks: Annotated[
        int, typer.Option(help="Clicks of one client; fewer if they take more than 2 minutes")
    ] = 300,
    seconds: Annotated[float, typer.Option(help="Seconds that 32 clients click in parallel")] = 10.0,
) -> None:
    """Measure each size with our server, then with MONAI Label's; save the results."""
    rows: list[dict[str, Any]] = []
    keep.mkdir(parents=True, exist_ok=True)
    for count in sizes:
        for whose, strategies in _STRATEGIES.items():
            with pool_of(count, out.resolve(), whose) as (url, start):
                for strategy in strategies:
                    result = measure(url, strategy, whose == "ours", clicks, seconds)
                    row = {"images": count, "server": whose, "strategy": strategy, "start": start, **result}
                    rows.append(row)
                    typer.echo(json.dumps(row))
            write_json(keep / "load.json", {"processor": processor(), "date": today(), "rows": rows})
    draw(rows, keep / "load.png")
    (keep / "table.md").write_text(table(rows) + "\n")
    typer.echo(table(rows))


if __name__ == "__main__":
    typer.run(main)
