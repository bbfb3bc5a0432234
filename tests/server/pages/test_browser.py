"""The browser that the tests of pages rely on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.browser import requested

ELSEWHERE = "http://selection.invalid/pool"


def test_it_draws_with_webgl(page: Page) -> None:
    page.goto("data:text/html,<canvas></canvas>")
    assert page.evaluate("!!document.querySelector('canvas').getContext('webgl')")


def test_its_network_log_names_what_a_page_asks_for(
    launch: Callable[[Path], Browser], tmp_path: Path
) -> None:
    log = tmp_path / "network.json"
    chromium = launch(log)
    page = chromium.new_page()
    page.goto("data:text/html,<p>")
    page.evaluate(f"fetch('{ELSEWHERE}').catch(() => 1)")
    chromium.close()
    assert requested(log) == {ELSEWHERE}
