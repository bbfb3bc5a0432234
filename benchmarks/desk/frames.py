"""Frame rate of the desk while a brush is drawn over a radiograph of 3,000 x 3,000 pixels, without a GPU.

    python -m benchmarks.desk.frames --out runs/frames [--side 3000] [--keep benchmarks/results/desk_frames]

A real server shows one 16-bit radiograph to headless Chromium, with WebGL in software and without any. Mouse
events draw, pan and zoom; the page records when each frame is shown (requestAnimationFrame).
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.annotator import write_json
from benchmarks.desk.table import table
from benchmarks.hardware import processor, today
from benchmarks.load.map_frames import BROWSER, frames, pan, zoom
from benchmarks.phantoms.anatomy import sample_anatomy
from benchmarks.phantoms.image import radiograph
from benchmarks.server_process import Server

_WINDOWS = ((1280, 720), (1920, 1080))
_FLAGS = {"no WebGL": ["--no-sandbox", "--disable-gpu"], "WebGL in software": BROWSER}
_MOVEMENTS = (
    ("b", "brush of 15 pixels", pan),
    ("b", "brush of 151 pixels", pan),
    ("m", "pan", pan),
    ("b", "zoom", zoom),
)
_COLUMNS = {
    "per_second": "frames/s",
    "median_ms": "median ms",
    "p95_ms": "p95 ms",
    "processor_ms": "processor ms a frame",
}
_RESIZE = "(input, size) => { input.value = size; input.dispatchEvent(new Event('input')); }"


def write_radiograph(path: Path, side: int) -> None:
    """Write a phantom of side x side pixels as 16-bit PNG."""
    small = radiograph(sample_anatomy(np.random.default_rng(1), "normal"), "normal", 512, 1)
    grey = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True)
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 16 + 7).save(path)


def measure(url: str, image: str, flags: list[str], size: tuple[int, int]) -> list[dict[str, Any]]:
    """Measure the frame rate of each movement."""
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.request.post(f"{url}/selection/reader", data={"name": "Ada"})
        started = time.monotonic()
        page.goto(f"{url}/selection/label?image={image}")
        page.wait_for_selector(f"body[data-shown='{image}']", timeout=60_000)
        typer.echo(f"shown after {time.monotonic() - started:.2f} s")
        for key, name, move in _MOVEMENTS:
            _choose(page, key, 151 if "151" in name else 15)
            rows.append({"window": f"{size[0]} x {size[1]}", "movement": name} | frames(page, move))
        browser.close()
    return rows


def _choose(page: Page, key: str, size: int) -> None:
    page.keyboard.press(key)
    page.locator("#size").evaluate(_RESIZE, size)
    page.wait_for_timeout(1_000)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the pool and the log; emptied first")],
    side: Annotated[int, typer.Option(min=100, help="Pixels per side of the radiograph")] = 3_000,
    keep: Annotated[Path | None, typer.Option(help="Folder for frames.json and table.md")] = None,
) -> None:
    """Measure the frame rate of the desk; print and save it."""
    shutil.rmtree(out, ignore_errors=True)
    write_radiograph(out / "studies" / "large.png", side)
    conf = {"hold_out": 0, "state": (out / "state").resolve()}
    with Server("cxr_lungs", out / "studies", conf, (out / "server.log").resolve()) as server:
        server.wait(600)
        rows = [
            {"browser": name} | row
            for name, flags in _FLAGS.items()
            for size in _WINDOWS
            for row in measure(server.url, "large", flags, size)
        ]
    text = table(rows, ["browser", "window", "movement"], _COLUMNS)
    typer.echo(text)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        about = {"processor": processor(), "date": today(), "side": side}
        write_json(keep / "frames.json", {**about, "rows": rows})
        (keep / "table.md").write_text(text)


if __name__ == "__main__":
    typer.run(main)
