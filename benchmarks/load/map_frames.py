"""Frame rate of the selection map while a mouse pans and zooms it, without a GPU.

    python -m benchmarks.load.map_frames --out runs/map --keep benchmarks/results/map_frames --images 100000

A real server shows a pool of that many images to headless Chromium, which renders WebGL in software. Mouse
events move the map; the page records when each frame is shown (requestAnimationFrame).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import requests
import typer
from playwright.sync_api import Page, sync_playwright

from benchmarks.annotator import write_json
from benchmarks.hardware import processor, today
from benchmarks.load.large_pool import make_state, make_studies
from benchmarks.server_process import Server
from pool.database.state import State
from strategies.context import Context
from strategies.selectors.cold_start import CLUSTER
from strategies.settings import Settings

BROWSER = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_BUDGET = 12
_SECONDS = 8.0  # per movement
_START_COUNTING = """() => {
    window.frames_ = []; window.counting_ = true;
    const note = (at) => { window.frames_.push(at); if (window.counting_) requestAnimationFrame(note); };
    requestAnimationFrame(note);
}"""
_STOP_COUNTING = "() => { window.counting_ = false; return window.frames_; }"


def prepare(folder: Path, count: int) -> None:
    """Prepare a pool of `count` images: embedded, mapped, planned, clustered, and scored by one model."""
    paths = make_studies(folder / "studies", count)
    settings = Settings(cold_start_budget=_BUDGET)
    make_state(folder / "state", paths, settings)
    state, random = State(folder / "state"), np.random.default_rng(2)
    context = Context(state, settings, "descriptor:1")
    images = [path.stem for path in paths]
    clusters = random.integers(0, 8, count)
    state.scores.add_measures(
        context.cold_key, {i: {CLUSTER: float(c)} for i, c in zip(images, clusters, strict=True)}
    )
    state.models.add("0" * 64, [], {})
    for at in range(0, count, 2_000):
        state.scores.add_entropies(
            "0" * 64, {image: float(random.random()) for image in images[at : at + 2_000]}
        )


def frames(page: Page, move: Callable[[Page, float, float], None]) -> dict[str, float]:
    """Measure frames during a mouse movement: number, milliseconds between them, processor time of each."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.evaluate(_START_COUNTING)
    before = work()
    move(page, x, y)
    spent = 1000 * (work() - before)
    gaps = np.diff(page.evaluate(_STOP_COUNTING))
    return {
        "frames": len(gaps),
        "per_second": 1000 / float(gaps.mean()),
        "median_ms": float(np.median(gaps)),
        "p95_ms": float(np.percentile(gaps, 95)),
        "processor_ms": spent / len(gaps),
    }


def work() -> float:
    """Return the browser's processor seconds: unlike frames, they depend little on other load."""
    used = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "chrom" in process.name():
                used += sum(process.cpu_times()[:2])
    return used


def pan(page: Page, x: float, y: float) -> None:
    """Drag the map in circles."""
    page.mouse.down()
    begin, step = time.monotonic(), 0
    while time.monotonic() - begin < _SECONDS:
        step += 1
        page.mouse.move(x + 150 * np.sin(step / 15), y + 100 * np.cos(step / 15))
        page.wait_for_timeout(8)
    page.mouse.up()


def zoom(page: Page, x: float, y: float) -> None:
    """Turn the wheel in and out."""
    begin, step = time.monotonic(), 0
    while time.monotonic() - begin < _SECONDS:
        step += 1
        page.mouse.wheel(0, -20 if step % 120 < 60 else 20)
        page.wait_for_timeout(8)


def measure(url: str, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Measure the frame rate of each movement, with the map coloured by state and by entropy."""
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER)
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        started = time.monotonic()
        page.goto(f"{url}/selection/map")
        page.wait_for_selector("body[data-version]", timeout=120_000)
        typer.echo(f"shown after {time.monotonic() - started:.1f} s")
        for colour in ("state", "entropy"):
            page.select_option("#colour-by", colour)
            page.wait_for_timeout(2_000)
            for name, move in (("pan", pan), ("zoom", zoom)):
                about = {"window": f"{size[0]} x {size[1]}", "movement": name, "colour": colour}
                rows.append(about | frames(page, move))
        browser.close()
    return rows


def ask(url: str) -> dict[str, float]:
    """Return the seconds to fetch the map's data: computed, cached, and unchanged (304)."""
    seconds, tag = {}, ""
    for name in ("first", "again", "unchanged"):
        started = time.perf_counter()
        answer = requests.get(
            f"{url}/selection/map/data", headers={"If-None-Match": tag} if name == "unchanged" else {}
        )
        answer.raise_for_status()
        seconds[name] = time.perf_counter() - started
        tag = answer.headers["ETag"]
    return seconds


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pool and the log; emptied first")],
    images: Annotated[int, typer.Option(min=100, help="Points on the map")] = 100_000,
    keep: Annotated[Path | None, typer.Option(help="Folder for map_frames.json and table.md")] = None,
) -> None:
    """Measure the frame rate of the map; print and save it."""
    shutil.rmtree(out, ignore_errors=True)
    prepare(out, images)
    conf = {"hold_out": 0, "state": (out / "state").resolve(), "cold_start_budget": _BUDGET}
    env = {"MONAI_LABEL_DATASTORE_FILE_EXT": '["*.png"]'}
    with Server("cxr_lungs", out / "studies", conf, (out / "server.log").resolve(), env=env) as server:
        server.wait(600)
        data = ask(server.url)
        rows = measure(server.url, (1280, 800)) + measure(server.url, (1920, 1080))
    lines = [
        "| window | movement | coloured by | frames/s | median ms | p95 ms | processor ms a frame |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['window']} | {r['movement']} | {r['colour']} | {r['per_second']:.0f} | {r['median_ms']:.0f} | "
        f"{r['p95_ms']:.0f} | {r['processor_ms']:.0f} |"
        for r in rows
    ]
    lines += ["", "| the map's data | seconds |", "|---|---|"]
    lines += [f"| {name} | {seconds:.3f} |" for name, seconds in data.items()]
    typer.echo("\n".join(lines))
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        about = {"processor": processor(), "date": today(), "images": images}
        write_json(keep / "map_frames.json", {**about, "rows": rows, "data": data})
        (keep / "table.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    typer.run(main)
