"""The desk's page, driven with mouse and keys in a browser."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

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
