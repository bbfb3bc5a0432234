"""Screenshots of the pages for the documentation.

    python -m benchmarks.pictures.screenshots --out docs/images


A real server runs on a phantom pool with a small trained model; headless Chromium opens each page.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import requests
import typer
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from benchmarks.annotator import Annotator
from benchmarks.load.map_frames import BROWSER
from benchmarks.phantoms.generate import generate
from benchmarks.server_process import running

_WINDOW: ViewportSize = {"width": 1280, "height": 800}
_COLD, _ACTIVE, _VALIDATION = 10, 6, 4  # labelled images
_CONF = {
    "preset": "paper",  # whose plan says more in a picture
    "epochs": 20,
    "image_size": 96,
    "channels": "[8,16,32]",
    "cold_start_budget": _COLD,
    "batch_size": 6,
    "validation_budget": _VALIDATION,
}
_QUALITY = 80  # of WebP


def fill(url: str, labels: Path) -> None:
    """Label, train and continue until the pages have something to show."""
    annotator = Annotator(url, labels, "Ada")
    for _ in range(_COLD + _VALIDATION):  # validation images follow the cold start
        annotator.label_next("auto")
    annotator.train(None)
    annotator.wait_ready(rounds=1)
    for _ in range(_ACTIVE):
        annotator.label_next("auto")
    for name in ("Ben", "Chloé", "Dan"):
        image = requests.post(f"{url}/activelearning/auto", json={"client_id": name}, timeout=60).json()["id"]
        if name == "Dan":
            skip = {"client_id": name, "skip": image, "reason": "rotated"}
            requests.post(f"{url}/activelearning/auto", json=skip, timeout=60).raise_for_status()
    annotator.wait_ready(rounds=1)


def show_map(page: Page, url: str) -> None:
    """Open the map with the newest label."""
    page.goto(f"{url}/selection/map")
    page.wait_for_selector("body[data-version]")
    ledger = requests.get(f"{url}/selection/ledger", timeout=60).json()
    image = [entry["image"] for entry in ledger if entry["event"] == "label"][-1]
    page.click("#tab-list")
    page.fill("#panel-list input[type=search]", image)
    page.click(f".images [data-image='{image}']")
    page.wait_for_selector("#overlay")
    page.wait_for_selector(".near img[src^='blob:']")
    page.locator("#panel-image").evaluate("panel => panel.scrollTo(0, 0)")
    page.mouse.move(640, 790)


def show_progress(page: Page, url: str) -> None:
    """Open the page with counts, learning curves and advice."""
    page.goto(f"{url}/selection/progress")
    page.wait_for_selector("#results table")


def show_start(page: Page, url: str) -> None:
    """Open the map of a pool without labels, coloured by cluster."""
    page.goto(f"{url}/selection/map")
    page.wait_for_selector("body[data-version]")
    page.select_option("#colour-by", "cluster")
    page.wait_for_selector("#panel-plan .thumb[src^='blob:']")


def show_training(page: Page, url: str) -> None:
    """Open the map while a training runs."""
    requests.post(f"{url}/train/segmentation", json={"max_epochs": 400}, timeout=60).raise_for_status()
    page.goto(f"{url}/selection/map")
    expect(page.locator("#guide .epochs")).to_contain_text("left", timeout=180_000)
    page.wait_for_selector("body[data-version]")


# file name: function that opens the page
EARLY: dict[str, Callable[[Page, str], None]] = {"map_start.webp": show_start}  # before the first label
SCENES: dict[str, Callable[[Page, str], None]] = {
    "map.png": show_map,
    "progress.png": show_progress,
    "training.webp": show_training,  # last, since it ends with a training
}


def take(browser: Browser, url: str, scenes: dict[str, Callable[[Page, str], None]], out: Path) -> None:
    """Take the screenshots of some scenes."""
    for name, show in scenes.items():
        page = browser.new_page(viewport=_WINDOW)
        show(page, url)
        page.wait_for_timeout(1_500)  # until images have loaded and the map is still
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        picture.save(out / name, quality=_QUALITY)
        typer.echo(out / name)
        page.close()


def main(out: Annotated[Path, typer.Option(help="Folder for the screenshots")]) -> None:
    """Take the screenshots."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER)
        generate(folder, count=60, seed=42, size=256)
        conf = {**_CONF, "state": folder / "state"}
        with running("cxr_lungs", folder / "studies", conf, folder / "server.log") as server:
            Annotator(server.url, folder / "labels").wait_ready(rounds=0)
            take(browser, server.url, EARLY, out)
            fill(server.url, folder / "labels")
            take(browser, server.url, SCENES, out)
            requests.delete(f"{server.url}/train/", timeout=60).raise_for_status()
        browser.close()


if __name__ == "__main__":
    typer.run(main)
