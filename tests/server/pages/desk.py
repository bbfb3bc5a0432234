"""The desk's page in a browser, and what its tools are to paint, in plain numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

Pixel = tuple[int, int]  # column, row
_FIT = 0.96  # of the canvas that a fitted image fills


class DeskPage:
    """One reader's page.

    :param shape: rows and columns of the images
    :param aspect: height of a pixel by its width
    """

    def __init__(self, page: Page, url: str, shape: tuple[int, int], aspect: float = 1.0) -> None:
        self.page, self.url, self.shape, self.aspect = page, f"{url}/selection", shape, aspect

    def introduce(self, name: str) -> None:
        """Give this browser's reader a name, so that the page does not ask for one."""
        assert self.page.request.post(f"{self.url}/reader", data={"name": name}).ok

    def open(self, image: str = "") -> str:
        """Open an image, or the next one; return the image that is shown."""
        self.page.goto(f"{self.url}/label?image={image}" if image else f"{self.url}/label")
        return self.wait(image)

    def wait(self, image: str = "") -> str:
        """Wait until an image can be drawn on; return it."""
        wanted = f"[data-shown='{image}']" if image else "[data-shown]"
        self.page.wait_for_selector(f"body{wanted}")
        expect(self.button("Nothing to label")).to_be_enabled()
        return str(self.page.locator("body").get_attribute("data-shown"))

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def press(self, *keys: str) -> None:
        self.page.focus("#canvas")
        for key in keys:
            self.page.keyboard.press(key)

    def at(self, pixel: Pixel) -> tuple[float, float]:
        """Return the place of a pixel's centre on the screen, while the image is fitted to the canvas."""
        box = self.page.locator("#canvas").bounding_box()
        assert box is not None
        rows, columns = self.shape
        scale = _FIT * min(box["width"] / columns, box["height"] / (rows * self.aspect))
        x = box["x"] + box["width"] / 2 + (pixel[0] + 0.5 - columns / 2) * scale
        return x, box["y"] + box["height"] / 2 + (pixel[1] + 0.5 - rows / 2) * scale * self.aspect

    def drag(self, *pixels: Pixel) -> None:
        """Draw with the mouse from pixel to pixel."""
        self.page.mouse.move(*self.at(pixels[0]))
        self.page.mouse.down()
        for pixel in pixels[1:]:
            self.page.mouse.move(*self.at(pixel))
        self.page.mouse.up()

    def click(self, pixel: Pixel) -> None:
        self.page.mouse.click(*self.at(pixel))

    def resize(self, size: int) -> None:
        """Choose the brush's size, in pixels."""
        self.page.focus("#size")
        self.page.locator("#size").fill(str(size))
        expect(self.page.locator("#size-shown")).to_have_text(f"{size} px")

    @property
    def message(self) -> Locator:
        return self.page.locator("#message")


@contextmanager
def reader(
    browser: Browser, url: str, name: str, shape: tuple[int, int], aspect: float = 1
) -> Iterator[DeskPage]:
    """Open a browser of a reader's own; errors of the page's scripts fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page, errors = context.new_page(), []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:  # no label yet: 404
            errors.append(message.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", note)
    desk = DeskPage(page, url, shape, aspect)
    desk.introduce(name)
    yield desk
    context.close()
    assert not errors, f"errors in the page: {errors[:5]}"


def stroke(mask: np.ndarray, pixels: Sequence[Pixel], size: int, value: int, aspect: float = 1.0) -> None:
    """Paint a brush drawn from pixel to pixel: all centres within half its size of the line."""
    row, column = np.indices(mask.shape)
    points = np.stack([column, row * aspect], -1).astype(float)
    corners = np.array(pixels, float) * (1, aspect)
    for a, b in zip(corners, [*corners[1:], corners[-1]], strict=True):
        length = ((b - a) ** 2).sum()
        along = np.clip(((points - a) @ (b - a)) / length, 0, 1) if length else np.zeros(mask.shape)
        away = np.linalg.norm(points - (a + along[..., None] * (b - a)), axis=-1)
        mask[away <= size / 2 + 1e-9] = value


def polygon(mask: np.ndarray, corners: Sequence[Pixel], value: int, aspect: float = 1.0) -> None:
    """Paint a polygon: all centres inside by the even-odd rule, and its rim."""
    row, column = np.indices(mask.shape)
    inside = np.zeros(mask.shape, bool)
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if y1 == y2:
            continue
        crosses = (row >= min(y1, y2)) & (row < max(y1, y2))
        inside ^= crosses & (column < x1 + (row - y1) * (x2 - x1) / (y2 - y1))
    mask[inside] = value
    stroke(mask, [*corners, corners[0]], 1, value, aspect)
