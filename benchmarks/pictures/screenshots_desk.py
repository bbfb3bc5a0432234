"""Screenshots of the desk for the documentation.

    python -m benchmarks.pictures.screenshots_desk --out docs/images

Real servers run on a phantom pool with a small trained model, and on a pool of one volume; headless Chromium
opens the page in each of its states.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import nibabel
import numpy as np
import typer
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from scipy import ndimage

from benchmarks.annotator import Annotator
from benchmarks.desk.page import DeskPage
from benchmarks.phantoms.generate import generate
from benchmarks.server_process import running

_SIDE = 512
_LABELLED = 12
_CONF = {
    "epochs": 40,
    "image_size": 96,
    "channels": "[8,16,32]",
    "cold_start_budget": _LABELLED,
    "batch_size": 6,
}
_QUALITY = 80  # of WebP
_GUIDELINE = """Draw **both** lungs whole, also behind the heart.

- The hilum is no lung.
- Do not draw the trachea.
"""


def name(desk: DeskPage) -> None:
    """Take the question for a name, in a browser that is new."""
    desk.page.goto(f"{desk.url}/label")
    desk.page.get_by_label("Name").fill("Ada")


def prelabel(desk: DeskPage) -> None:
    """Take a pre-label that the reader corrects."""
    _begin(desk, "Ada")
    desk.press("e")
    desk.resize(31)
    x, y = desk.at((330, 300))
    desk.page.mouse.move(x, y)
    desk.page.mouse.down()
    desk.page.mouse.move(x + 40, y + 60, steps=5)
    desk.page.mouse.up()
    desk.page.locator("#near img[src^='blob:']").first.wait_for()


def polygon(desk: DeskPage) -> None:
    """Take a polygon whose corners are being set, in a narrow window."""
    _begin(desk, "Ben")
    desk.press("2", "p")
    for corner in ((300, 130), (350, 90), (400, 140), (430, 300)):
        desk.click(corner)
    desk.page.mouse.move(*desk.at((330, 330)))


def away(desk: DeskPage) -> None:
    """Take the message of a server that does not answer."""
    _begin(desk, "Chloé")
    desk.drag((200, 200), (220, 260))
    desk.page.context.set_offline(True)
    desk.press("Enter")
    expect(desk.message).to_contain_text("does not answer")


def empty(desk: DeskPage) -> None:
    """Take the message after nothing was to be labelled."""
    _begin(desk, "Dan")
    desk.button("Nothing to label").click()
    expect(desk.message).to_contain_text("nothing to label")
    desk.wait()


def volume(desk: DeskPage) -> None:
    """Take a slice of a volume."""
    desk.introduce("Ada")
    desk.open()
    desk.resize(15)
    desk.press("b", "1")
    desk.drag((50, 40), (62, 48), (52, 56))
    desk.press("ArrowRight")


def _begin(desk: DeskPage, reader: str) -> None:
    """Open an image with a pre-label; each reader has another."""
    desk.introduce(reader)
    desk.open()
    expect(desk.page.locator("#start")).to_contain_text("prediction", timeout=60_000)


# file name: function that brings the page into a state, and size of the window
SCENES: dict[str, tuple[Callable[[DeskPage], None], tuple[int, int]]] = {
    "desk": (prelabel, (1440, 900)),
    "desk_name": (name, (1280, 720)),
    "desk_polygon": (polygon, (800, 1000)),
    "desk_away": (away, (1280, 720)),
    "desk_empty": (empty, (1280, 720)),
}


def take(browser: Browser, url: str, scene: str, out: Path) -> None:
    """Take one screenshot, as WebP."""
    act, (width, height) = SCENES.get(scene, (volume, (1280, 720)))
    context = browser.new_context(viewport={"width": width, "height": height})
    page: Page = context.new_page()
    act(DeskPage(page, url, (_SIDE, _SIDE) if scene in SCENES else (90, 100)))
    page.wait_for_timeout(1_000)  # until thumbnails have loaded
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(out / f"{scene}.webp", quality=_QUALITY)
    typer.echo(out / f"{scene}.webp")
    context.close()


def write_volume(path: Path) -> None:
    """Write a head of nested ellipsoids as NIfTI."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (100, 90, 60)), indexing="ij"))
    shells = ((0.9, 300), (0.8, 900), (0.35, 500), (0.2, 1300))
    values = sum(height * (np.sqrt((grid**2).sum(0)) < radius) for radius, height in shells)
    noise = np.random.default_rng(1).normal(0, 60, values.shape)
    smooth = ndimage.gaussian_filter(values.astype(float), 1.5) + noise
    path.parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(smooth.astype(np.int16), np.diag((2.0, 2.0, 3.0, 1.0))), path)


def main(out: Annotated[Path, typer.Option(help="Folder for the screenshots")]) -> None:
    """Take the screenshots."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        generate(folder, count=30, seed=42, size=_SIDE)
        (folder / "guideline.md").write_text(_GUIDELINE)
        conf = {**_CONF, "state": folder / "state", "guideline": folder / "guideline.md"}
        with running("cxr_lungs", folder / "studies", conf, folder / "server.log") as server:
            lead = Annotator(server.url, folder / "labels", "lead")
            lead.wait_ready(rounds=0)
            for _ in range(_LABELLED):
                lead.label_next("auto")
            lead.train(None)
            lead.wait_ready(rounds=1)
            for scene in SCENES:
                take(browser, server.url, scene, out)
        write_volume(folder / "heads" / "head.nii.gz")
        conf = {"state": folder / "state of heads", "labels": '{"oedema": 1, "tumour": 2}'}
        with running("volumes", folder / "heads", conf, folder / "server.log") as server:
            take(browser, server.url, "desk_volume", out)
        browser.close()


if __name__ == "__main__":
    typer.run(main)
