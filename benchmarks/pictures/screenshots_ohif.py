"""A screenshot of OHIF with a prediction: `python -m benchmarks.screenshots_ohif`.

The server needs a pool on a DICOM server and a trained model. Uses the system's Chromium.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Page, sync_playwright

_FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_READY = "() => window.services.segmentationService.getSegmentations().length === 1"


def take(page: Page, url: str, study: str, target: Path) -> None:
    """Open a study in MONAI Label's mode, connect, run the model, and take a screenshot.

    :param url: address of the server
    :param study: StudyInstanceUID
    Raises playwright's TimeoutError if a step takes more than half a minute.
    """
    page.goto(f"{url}/ohif/monai-label?StudyInstanceUIDs={study}")
    page.get_by_role("button", name="Confirm and Hide").click()
    page.locator("canvas.cornerstone-canvas").first.wait_for()
    page.locator(".settingsTable button").click()
    page.wait_for_function(_READY)
    page.get_by_title("Run Segmentation", exact=True).click()
    page.get_by_text("Running Segmentation - Successful").wait_for()
    page.get_by_text("Running Segmentation - Successful").wait_for(state="hidden")
    target.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=target)


def main(
    study: Annotated[str, typer.Option(help="StudyInstanceUID")],
    url: Annotated[str, typer.Option(help="Address of the server")] = "http://127.0.0.1:8000",
    out: Annotated[Path, typer.Option(help="File to write")] = Path("docs/images/ohif.png"),
) -> None:
    """Take the screenshot."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        take(browser.new_page(viewport={"width": 1280, "height": 800}), url, study, out)
        browser.close()


if __name__ == "__main__":
    typer.run(main)
