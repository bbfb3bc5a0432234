"""The desk's page in a browser of its own, and what its tools are to paint, in plain numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from playwright.sync_api import Browser, ConsoleMessage

from benchmarks.desk.page import DeskPage, Pixel


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
