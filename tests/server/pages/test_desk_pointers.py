"""The desk under a pen, fingers, and images larger than any canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, CDPSession, expect

from benchmarks.desk.page import DeskPage, Pixel
from benchmarks.server_process import Server
from tests.server.pages.desk import reader, stroke

SHAPE = (70, 110)
LONG = (300, 20_000)  # wider than Chromium's largest canvas
PIXELS = np.random.default_rng(3).integers(1, 250, SHAPE, dtype=np.uint8)


@pytest.fixture(scope="module")
def server(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    studies = tmp_path_factory.mktemp("pointers") / "studies"
    studies.mkdir()
    for name in ("pen", "touch"):
        Image.fromarray(np.roll(PIXELS, len(name), axis=1)).save(studies / f"{name}.png")
    Image.fromarray(np.tile(PIXELS, (5, 182))[: LONG[0], : LONG[1]]).save(studies / "long.png")
    Image.new("L", (20_000, 20_000)).save(studies / "huge.png")
    return start(studies, studies.parent / "state", instant=False)


@pytest.fixture
def ann(server: Server, browser: Browser) -> Iterator[DeskPage]:
    with reader(browser, server.url, "ann", SHAPE) as desk:
        yield desk


class Hands:
    """A pen and fingers, sent as the browser gets them from the system."""

    def __init__(self, desk: DeskPage) -> None:
        self.desk, self.chrome = desk, desk.page.context.new_cdp_session(desk.page)

    def pen(self, *pixels: Pixel) -> None:
        kinds = ["mousePressed", *["mouseMoved"] * (len(pixels) - 1), "mouseReleased"]
        for kind, pixel in zip(kinds, [*pixels, pixels[-1]], strict=True):
            self._pen(self.chrome, kind, self.desk.at(pixel))

    def _pen(self, chrome: CDPSession, kind: str, at: tuple[float, float]) -> None:
        down = {"button": "left", "buttons": int(kind != "mouseReleased"), "clickCount": 1}
        chrome.send(
            "Input.dispatchMouseEvent",
            {"type": kind, "x": at[0], "y": at[1], "pointerType": "pen", "force": 0.5, **down},
        )

    def fingers(self, *places: list[tuple[float, float]]) -> None:
        """Put fingers down at the first places, move them to the others, and lift them."""
        for number, points in enumerate(places):
            self._touch("touchMove" if number else "touchStart", points)
        self._touch("touchEnd", [])

    def _touch(self, kind: str, points: list[tuple[float, float]]) -> None:
        listed: list[dict[str, Any]] = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self.chrome.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": listed})


def stored(server: Server, image: str, shape: tuple[int, int]) -> np.ndarray:
    answer = requests.get(f"{server.url}/selection/image/{image}/label", timeout=60)
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, np.uint8).reshape(shape)


def submit(desk: DeskPage, image: str) -> None:
    desk.press("Enter")
    expect(desk.message).to_contain_text(f"{image} saved", timeout=20_000)


def test_a_pen_draws_and_fingers_then_only_move_the_image(server: Server, ann: DeskPage) -> None:
    ann.open("pen")
    hands, mask = Hands(ann), np.zeros(SHAPE, np.uint8)
    ann.resize(7)
    ann.press("1", "b")
    hands.pen((20, 20), (60, 45), (15, 60))
    stroke(mask, [(20, 20), (60, 45), (15, 60)], 7, 1)
    hands.fingers([ann.at((30, 10))], [ann.at((80, 10))])  # a palm beside the pen
    ann.press("0")
    submit(ann, "pen")
    np.testing.assert_array_equal(stored(server, "pen", SHAPE), mask)


def test_one_finger_draws_and_two_zoom(server: Server, ann: DeskPage) -> None:
    ann.open("touch")
    hands, mask = Hands(ann), np.zeros(SHAPE, np.uint8)
    ann.resize(5)
    ann.press("2", "b")
    hands.fingers([ann.at((20, 20))], [ann.at((60, 45))])
    stroke(mask, [(20, 20), (60, 45)], 5, 2)
    before = ann.page.locator("#size-shown").inner_text()
    hands.fingers([ann.at((50, 30)), ann.at((60, 30))], [ann.at((30, 30)), ann.at((80, 30))])
    expect(ann.page.locator("#size-shown")).to_have_text(before)
    ann.press("0")
    hands.fingers([ann.at((90, 10))], [ann.at((90, 50))])
    stroke(mask, [(90, 10), (90, 50)], 5, 2)
    submit(ann, "touch")
    np.testing.assert_array_equal(stored(server, "touch", SHAPE), mask)


def test_an_image_wider_than_any_canvas_is_shown_scaled_and_drawn_on(
    server: Server, browser: Browser
) -> None:
    with reader(browser, server.url, "ann", LONG) as desk:
        desk.open("long")
        desk.resize(101)
        desk.press("1", "b")
        desk.page.mouse.click(*desk.at((12_000, 150)))
        submit(desk, "long")
        label = stored(server, "long", LONG)
        row, column = (numbers.mean() for numbers in np.nonzero(label))
        assert abs(column - 12_000) < 12 and abs(row - 150) < 12, "a screen pixel shows 20 of the image"
        assert 0.9 < label.sum() / (np.pi * 50.5**2) < 1.1


def test_an_image_with_too_many_pixels_is_refused_in_words(server: Server, ann: DeskPage) -> None:
    ann.page.goto(f"{ann.url}/label?image=huge")
    notice = ann.page.locator("#notice")
    expect(notice).to_contain_text("huge cannot be opened.", timeout=20_000)
    expect(notice).to_contain_text("declares too much")
    expect(notice).to_contain_text("crop or resample it")
    expect(ann.button("Next image")).to_be_visible()
