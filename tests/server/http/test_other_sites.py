"""Attacks by a page of another site in a real browser, and by DNS rebinding."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.server.http.conftest import Target

# what a page can send without asking first, and what it can try to read or show
ATTACK = """async (server) => {
  const found = {};
  const attempt = async (name, run) => {
    try { found[name] = await run(); } catch (error) { found[name] = `refused: ${error.name}`; }
  };
  const simple = (path, init = {}) => () =>
    fetch(server + path, { mode: 'no-cors', ...init }).then(a => a.type);
  await attempt('list', () => fetch(server + '/datastore/?output=all').then(a => a.text()));
  await attempt('info', () => fetch(server + '/info/').then(a => a.json()));
  await attempt('score', simple('/scoring/refresh', { method: 'POST' }));
  await attempt('train', simple('/train/segmentation', { method: 'POST' }));
  await attempt('reload', simple('/reload', { method: 'POST' }));
  await attempt('next', simple('/activelearning/random', { method: 'POST', body: '{}' }));
  const form = new FormData();
  form.append('files', new Blob(['x']), 'sitecustomize.py');
  await attempt('session', simple('/session/', { method: 'POST', body: form }));
  await attempt('json', () => fetch(server + '/scoring/refresh',
    { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{}' }).then(a => a.text()));
  await attempt('image', () => new Promise(resolve => {
    const image = new Image();
    image.onload = () => resolve(`seen: ${image.width}`);
    image.onerror = () => resolve('refused');
    image.src = server + '/datastore/image?image=phantom_000';
  }));
  await attempt('script', () => new Promise(resolve => {
    const script = document.createElement('script');
    script.onload = () => resolve('run');
    script.onerror = () => resolve('refused');
    script.src = server + '/info/';
    document.head.append(script);
  }));
  return found;
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of another web server on this machine."""
    folder = tmp_path_factory.mktemp("evil")
    (folder / "index.html").write_text("<!doctype html><title>Free cats</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture(scope="module")
def misled(launch: Callable[..., Browser], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that resolves every name in .example to this machine."""
    log = tmp_path_factory.mktemp("misled") / "network.json"
    chromium = launch(log, "--host-resolver-rules=MAP *.example 127.0.0.1")
    yield chromium
    chromium.close()


def events(target: Target) -> tuple[int, int, Any]:
    """Count what requests did: tasks but for the worker's own, ledger entries, hand-outs."""
    answers = target.ask("GET", "/scoring/?all=true"), target.ask("GET", "/train/?all=true")
    tasks = [task for answer in answers if answer.status_code == 200 for task in answer.json()]
    started = sum("if_due" not in task["request"] for task in tasks)
    ledger = [entry["event"] for entry in target.ask("GET", "/selection/ledger").json()]
    return started, ledger.count("handout"), target.ask("GET", "/selection/handouts").json()["skipped"]


@pytest.mark.parametrize(
    "site", ["http://127.0.0.1:{port}", "http://localhost:{port}", "http://evil.example:{port}"]
)
def test_a_page_of_another_site_reads_and_starts_nothing(
    laptop: Target, misled: Browser, pages: int, site: str
) -> None:
    page: Page = misled.new_page()
    page.goto(site.replace("{port}", str(pages)))
    before = events(laptop)
    found = page.evaluate(ATTACK, laptop.url)
    for name in ("list", "info", "json"):
        assert found[name] == "refused: TypeError", found
    assert found["image"] == "refused" and found["script"] == "refused"
    assert "phantom" not in str(found) and events(laptop) == before
    page.close()


def test_a_page_of_another_site_cannot_frame_or_post_forms(
    laptop: Target, misled: Browser, pages: int
) -> None:
    page = misled.new_page()
    page.goto(f"http://evil.example:{pages}")
    before = events(laptop)
    page.set_content(f"<iframe src='{laptop.url}/selection/map'></iframe>")
    page.wait_for_timeout(1000)
    assert page.frames[1].url.startswith("chrome-error:") or not page.frames[1].evaluate("document.title")
    page.set_content(
        f"<form action='{laptop.url}/train/segmentation' method='post' enctype='text/plain'></form>"
    )
    with page.expect_navigation() as navigated:
        page.evaluate("document.forms[0].submit()")
    assert navigated.value is not None and navigated.value.status == 403
    assert events(laptop) == before
    page.close()


def test_a_name_that_points_here_is_refused(laptop: Target, misled: Browser) -> None:
    page = misled.new_page()
    answer = page.goto(f"http://evil.example:{laptop.server.port}/selection/map")
    assert answer is not None and answer.status == 403
    assert "--conf allowed_hosts evil.example" in page.content()
    for path in ("/datastore/?output=all", "/info/", "/ohif/"):
        answer = page.goto(f"http://evil.example:{laptop.server.port}{path}")
        assert answer is not None and answer.status == 403 and "phantom" not in page.content()
    page.close()


def test_our_own_page_works_in_the_same_browser(laptop: Target, misled: Browser) -> None:
    page = misled.new_page()
    with page.expect_response("**/map/data") as data:
        page.goto(laptop.url)
    assert data.value.status == 200 and page.url == f"{laptop.url}/selection/map"
    with page.expect_response("**/selection/marks") as marked:  # what needs the page's own origin
        page.evaluate(
            "fetch('/selection/marks', { method: 'POST', headers: { 'Content-Type': 'application/json' }, "
            "body: JSON.stringify({ kind: 'none', images: ['phantom_000'] }) })"
        )
    assert marked.value.status == 200
    page.close()
