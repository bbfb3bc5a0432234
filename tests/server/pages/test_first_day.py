"""The first day at the pages: a pool without images, and the way from the first label to a model."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import requests
from playwright.sync_api import Browser, expect

from benchmarks.server_process import Server
from tests.server.pages.desk import reader

COLD = re.compile(r"mage of cluster \d(, a group of images that look alike| that looks least like)")
LATER = re.compile(r"The model of round 1 is \w+ (un)?sure about it, \w+ it .* the labelled images\.")
READY = 90_000  # milliseconds for a small training on a busy machine


def test_a_pool_without_images_says_so_and_where_they_go(
    start: Callable[..., Server], browser: Browser, tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    server = start(studies, tmp_path / "state", instant=False)
    page = browser.new_page()
    page.goto(f"{server.url}/selection/map")
    expect(page.locator("#empty")).to_contain_text(f"There are no images in {studies}. Copy PNG")
    expect(page.locator("#panel-plan")).to_contain_text("There are no images.")
    expect(page.locator("#guide .step")).to_contain_text("There are no images in")
    (studies / "notes.txt").write_text("no image")
    (studies / "scan.png").write_bytes(b"no picture")
    expect(page.locator("#empty")).to_contain_text("No image can be read", timeout=60_000)
    expect(page.locator("#empty li")).to_contain_text("scan: ")
    page.goto(f"{server.url}/selection/progress")
    expect(page.locator("#guide .step")).to_contain_text("None of the images can be read, 1 in all.")
    page.close()


def test_from_the_first_image_to_an_active_pick_by_the_pages_alone(
    start: Callable[..., Server], phantoms: Path, browser: Browser, tmp_path: Path
) -> None:
    shutil.copytree(phantoms / "studies", tmp_path / "studies")
    conf = {"preset": "paper", "instant": False, "epochs": 40}  # seconds, to be seen
    server = start(tmp_path / "studies", tmp_path / "state", prepared=True, **conf)
    with reader(browser, server.url, "Ann", (128, 128)) as desk:
        page = desk.page
        page.goto(server.url)  # leads to the map
        step = page.locator("#guide .step")
        expect(step).to_have_text("Next: 4 more labels, then Train.")
        expect(page.locator("#guide").get_by_role("button", name="Train")).to_be_disabled()
        page.get_by_role("link", name="Label the next image").click()
        for left in (3, 2, 1, 0):
            image = desk.wait()
            expect(page.locator("#why")).to_contain_text(COLD)
            desk.resize(31)
            desk.press("1", "b")
            desk.drag((35, 40), (35, 90 + left))  # another label each time
            desk.press("2")
            desk.drag((90, 40), (90, 90))
            desk.button("Submit and next").click()
            expect(page.locator("body")).not_to_have_attribute("data-shown", image)
            expect(page.locator("#message")).to_contain_text(f"{image} saved.")
            words = f"Next: {left} more label{'' if left == 1 else 's'}, then Train."
            expect(step).to_have_text(words if left else "Next: Train a model, with 4 new labels.")
        desk.button("Train").click()
        expect(page.locator("#guide .training")).to_contain_text("Training")
        expect(desk.button("Stop")).to_be_visible()
        status = requests.get(f"{server.url}/selection/status", timeout=30).json()
        assert status["training"]["state"] in ("queued", "running"), status["training"]
        page.get_by_role("link", name="Map").click()
        expect(page.locator("#guide .training")).to_contain_text("Training")
        expect(page.locator("#status")).to_contain_text("active · round 1", timeout=READY)
        expect(step).to_have_text("Next: 2 more labels, then Train.")
        picks = page.locator("#panel-plan .picks button")
        expect(picks.first).to_contain_text("The model of round 1 is least sure about this image of all.")
        expect(picks.nth(1)).to_contain_text(LATER)
        page.get_by_role("link", name="Label the next image").click()
        desk.wait()
        expect(page.locator("#why")).to_contain_text("The model of round 1 is")
        expect(page.locator("#start")).to_contain_text("Begins with the prediction")
