"""A real browser for tests: headless Chromium, driven by Playwright.

It has no GPU: SwiftShader draws WebGL alone, and not also what is around it, which costs much more.

A plugin (`-p` in setup.cfg), as `tests.orthanc` is. Chromium writes a network log; at the end of a module no
request of a page in it may have left this machine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from server.auth import is_loopback
from tests.options import missing_service

# Chromium takes one list of what is off, and so Playwright's is in it, but for other systems. Ours are the
# WebUIs (every window prepares two lists for its address bar, which cost more than a page of ours) and the
# spare renderer (a process for a page that nobody opens).
_OFF = [
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "SpareRendererForSitePerProcess",
    "ThirdPartyStoragePartitioning",
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxPopup",
]


@pytest.fixture(
    scope="module"
)  # while it runs, so does an event loop, which other modules' asyncio.run refuse
def launch(request: pytest.FixtureRequest) -> Iterator[Callable[..., Browser]]:
    """Starts browsers: launch(log, flags...); `log` is a file for the network log."""
    binary = shutil.which("chromium")
    if not binary:
        missing_service(request.config, "no browser: apt-get install chromium")
    always = ["--no-sandbox", "--disable-gpu", f"--disable-features={','.join(_OFF)}"]
    with sync_playwright() as playwright:
        yield lambda log, *flags: playwright.chromium.launch(
            executable_path=binary, args=[*always, *flags, f"--log-net-log={log}"]
        )


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium for one module of tests, whose pages must ask nobody beyond this machine."""
    log = tmp_path_factory.mktemp("chromium") / "network.json"
    chromium = launch(log)
    yield chromium
    chromium.close()
    outside = sorted(url for url in requested(log) if not is_loopback(urlsplit(url).hostname or ""))
    assert not outside, f"the pages asked for something beyond this machine: {outside[:5]}"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page of 1280 x 800; errors that its scripts raise or log fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", note)
    yield opened
    context.close()
    assert not errors, f"errors in the page: {errors[:5]}"


def requested(log: Path) -> set[str]:
    """Web addresses that pages asked for, by Chromium's network log.

    Left out is what Chromium itself asks for (its updates): that has no page as initiator and is no page.
    """
    found = json.loads(log.read_text())
    start = found["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    jobs = [event.get("params", {}) for event in found["events"] if event["type"] == start]
    own = [job for job in jobs if job.get("initiator") == "not an origin" and job["request_type"] == "other"]
    urls = {job.get("url", "") for job in jobs if job not in own}
    return {url for url in urls if url.startswith(("http:", "https:", "ws:", "wss:"))}
