"""The selection map of a real server in a real browser, and the data that it shows."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks.annotator import Annotator
from benchmarks.server_process import Server
from pool.database.handouts import Client
from pool.database.state import State
from server.pages.pool_map import COPY, HELD_OUT, LABELLED_ACTIVE, LABELLED_COLD, STATES
from tests.forked import prepare
from tests.server.conftest import TINY
from tests.server.issuer import PASSWORD, Issuer
from tests.server.polling import until
from tests.server.test_auth import settings

ODD = "odd [name] 1.2 µ"
BROKEN = "broken"


class Site:
    """A server on a pool in the middle of its first active round, and the answers so far."""

    def __init__(self, server: Server, folder: Path, labels: Path) -> None:
        self.url, self.state = server.url, State(folder / "state")
        self.ada = Annotator(server.url, labels, "ada")

    def get(self, path: str, **params: Any) -> requests.Response:
        return requests.get(f"{self.url}/selection/{path}", params=params, timeout=60)

    def data(self) -> dict[str, Any]:
        return dict(self.get("map/data").json())

    def plan(self) -> list[str]:
        return [pick["image"] for pick in self.get("plan").json()["picks"]]

    def next_sample(self) -> str:
        """Ask for the next sample, and release it at once."""
        answer = requests.post(
            f"{self.url}/activelearning/auto", json={"client_id": "peek"}, timeout=60
        ).json()
        self.state.handouts.release(answer["id"], Client("peek"))
        return str(answer["id"])

    def open(self, page: Page) -> None:
        page.goto(f"{self.url}/selection/map")
        page.wait_for_selector("body[data-version]")
        self.wait(page)

    def wait(self, page: Page) -> None:
        """Wait until the page shows the server's current data, which background work may change meanwhile."""
        end = time.monotonic() + 30
        while page.locator("body").get_attribute("data-version") != self.data()["version"]:
            assert time.monotonic() < end, "the page does not follow"
            page.wait_for_timeout(200)
        page.wait_for_timeout(300)  # the last frame


@pytest.fixture(scope="module")
def site(phantoms: Path, start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Four images labelled in cold start, a model, two labelled actively, one each of the other states."""
    folder = tmp_path_factory.mktemp("map")
    shutil.copytree(phantoms / "studies", folder / "studies")
    shutil.copytree(phantoms / "labels", folder / "labels")
    (folder / "studies" / "phantom_000.png").rename(folder / "studies" / f"{ODD}.png")
    (folder / "labels" / "phantom_000.png").rename(folder / "labels" / f"{ODD}.png")
    (folder / "studies" / f"{BROKEN}.png").write_bytes(b"no picture")
    conf = {"preset": "paper", "batch_size": 2}
    prepare("cxr_lungs", folder / "studies", folder / "state", TINY | conf, folder / "labels")
    server = start(folder / "studies", folder / "state", **conf)
    site = Site(server, folder, folder / "labels")
    held = site.plan()[-1]
    marked = {"kind": "held_out", "images": [held], "reason": "to measure"}
    requests.post(f"{site.url}/selection/marks", json=marked, timeout=60).raise_for_status()
    site.ada.send(held)
    end = time.monotonic() + 120
    while list(site.data()["failed"]) != [BROKEN]:  # a server tries again what failed
        assert time.monotonic() < end
        time.sleep(0.3)
    site.ada.wait_ready(rounds=1)
    for _ in range(2):
        site.ada.label_next("auto")
    requests.post(f"{site.url}/activelearning/auto", json={"client_id": "ben"}, timeout=60)
    return site


# data -------------------------------------------------------------------------------------------------


def test_the_map_agrees_with_the_status(site: Site) -> None:
    data, status = site.data(), site.get("status").json()
    count = [data["state"].count(code) for code in range(len(STATES))]
    assert len(data["ids"]) == len(set(data["ids"])) == status["images"] - status["failed"] - data["copies"]
    assert ODD in data["ids"] and list(data["failed"]) == [BROKEN]
    assert count[LABELLED_COLD] == 4 and count[LABELLED_ACTIVE] == 2 and count[HELD_OUT] == 1
    assert (
        count[LABELLED_COLD] + count[LABELLED_ACTIVE] + status["validation"]["labelled"] == status["labelled"]
    )
    assert dict(zip(STATES, count, strict=True))["handed out"] == status["handed_out"] == 1
    assert count[COPY] + data["copies"] == status["left_out"]
    assert len(data["ids"]) + data["copies"] == 16 and data["unmapped"] == 0
    assert max(data["cluster"]) + 1 == site.state.plans.get(1).details["k"]
    assert {len(data[name]) for name in ("x", "y", "cluster", "entropy", "quality")} == {len(data["ids"])}


def test_entropy_and_quality_are_those_of_the_newest_model(site: Site) -> None:
    data, model = site.data(), site.state.models.all()[0].fingerprint
    assert data["model"] == {"round": 1, "fingerprint": model}
    values = site.state.scores.entropies(model)
    for image, value in zip(data["ids"], data["entropy"], strict=True):
        assert value == (pytest.approx(values[image], abs=1e-5) if image in values else None)
    end = time.monotonic() + 120
    while not any(site.data()["quality"]) and time.monotonic() < end:  # it is measured in the background
        time.sleep(1)
    dice = dict(zip(data["ids"], site.data()["quality"], strict=True))
    held = site.state.marks.held_out()
    assert {image for image, value in dice.items() if value is not None} == held
    assert site.state.validations.of(model).keys() == held


def test_an_unchanged_map_is_not_sent_again(site: Site) -> None:
    first = site.get("map/data")
    again = requests.get(first.url, headers={"If-None-Match": first.headers["ETag"]}, timeout=60)
    assert again.status_code == 304 and not again.content
    image = site.next_sample()  # which is noted in the ledger
    site.state.handouts.skip(image, Client("ada"), "to be changed")
    changed = requests.get(first.url, headers={"If-None-Match": first.headers["ETag"]}, timeout=60)
    assert changed.status_code == 200 and changed.json()["state"] != first.json()["state"]
    site.state.handouts.unskip(image, Client("ada"))


def test_the_plan_is_what_is_handed_out_next(site: Site) -> None:
    planned = site.plan()
    assert all(
        pick["plain"].startswith("The model of round 1 is ") for pick in site.get("plan").json()["picks"]
    )
    got: list[str] = []
    for number in range(3):
        request = {"client_id": f"asker {number}"}
        got.append(requests.post(f"{site.url}/activelearning/auto", json=request, timeout=60).json()["id"])
    assert got == planned[:3]
    for number, image in enumerate(got):
        site.state.handouts.release(image, Client(f"asker {number}"))
    wanted = planned[-1]
    site.state.marks.put("next", [wanted], "lead")
    assert site.plan() == [wanted, *planned[:-1]]
    site.state.marks.remove([wanted], "lead")


def test_a_preview_changes_nothing_and_agrees_with_the_plan(site: Site) -> None:
    before = site.state.ledger.newest_id()
    same = site.get("preview", alpha=0.3, count=5).json()
    assert [pick["image"] for pick in same["picks"]] == site.plan()[:5] and same["configured"] == 0.3
    entropy = [pick["entropy"] for pick in site.get("preview", alpha=0).json()["picks"]]
    assert entropy == sorted(entropy, reverse=True) and len(entropy) == len(site.plan())
    assert site.get("preview", alpha=1).json()["picks"] != same["picks"]
    assert site.state.ledger.newest_id() == before
    assert all(pick["plain"].startswith("The model is ") for pick in same["picks"])
    assert site.get("preview", alpha=1.5).status_code == 422


def test_the_history_says_why_and_with_what_it_was_compared(site: Site) -> None:
    data = site.data()
    of = dict(zip(data["ids"], data["state"], strict=True))
    active = [entry["image"] for entry in site.state.ledger.entries() if entry["event"] == "label"][-1]
    assert of[active] == LABELLED_ACTIVE
    events = site.get("images/history", image=active).json()["events"]
    assert [event["event"] for event in events] == ["handout", "handout_ended", "label"]
    given = events[0]
    assert given["who"] == "ada" and given["reason"] and given["rule"]["name"] == "active"
    assert re.fullmatch(
        r"The model of round 1 is \w+ (un)?sure about it, .* the labelled images\.", given["plain"]
    )
    assert given["numbers"]["rank"] == 2 and given["plan"]
    near = given["neighbours"]
    assert near[0]["share"] == pytest.approx(given["numbers"]["distance"], rel=1e-6)
    assert {one["kind"] for one in near} <= {"labelled", "picked before"}
    held = next(image for image in data["ids"] if STATES[of[image]] == "handed out")
    for name in (held, active):  # what is only in somebody's hands is not called labelled
        for one in site.get("images/history", image=name).json()["neighbours"]:
            assert one["kind"] == ("handed out" if one["image"] == held else "labelled")
    cold = next(image for image in data["ids"] if of[image] == LABELLED_COLD)
    given = site.get("images/history", image=cold).json()["events"][0]
    assert given["rule"]["name"] == "cold_start" and "2601.18532" in given["rule"]["paper"]
    assert re.match(
        r"The (most typical )?image of cluster \d(, a group of| that looks least)", given["plain"]
    )


@pytest.mark.parametrize("what", ["thumbnail", "picture", "overlay"])
def test_pictures(site: Site, what: str) -> None:
    more = {"of": "prediction"} if what == "overlay" else {}
    answer = site.get(f"images/{what}", image=ODD, **more)
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (128, 128) and picture.mode == ("RGBA" if what == "overlay" else "L")
    for image, code in ((BROKEN, 422), ("nobody", 404), ("../studies/x", 404)):
        bad = site.get(f"images/{what}", image=image, **more)
        assert bad.status_code == code and image in bad.json()["detail"], bad.text


def test_a_label_is_drawn_where_it_is(site: Site, phantoms: Path) -> None:
    labelled = site.state.handouts.label_stages()
    image = next(name for name in labelled if name != ODD)
    drawn = Image.open(io.BytesIO(site.get("images/overlay", image=image, of="label").content))
    truth = Image.open(phantoms / "labels" / f"{image}.png")
    assert drawn.getchannel("A").point(lambda v: v > 0) == truth.point(lambda v: v > 0).convert("L")
    unlabelled = site.plan()[0]
    answer = site.get("images/overlay", image=unlabelled, of="label")
    assert answer.status_code == 404 and "no final label" in answer.json()["detail"]


# page -------------------------------------------------------------------------------------------------


def place(page: Page, image: str) -> tuple[float, float]:
    """Return the position of an image on the screen, going there by the list, which rings it."""
    page.click("#tab-list")
    page.fill("#panel-list input[type=search]", image)
    page.focus(".images")
    page.keyboard.press("Home")
    page.wait_for_timeout(400)
    return ringed(page)


def ringed(page: Page) -> tuple[float, float]:
    """Return the position of the ring, which each frame of a moving map draws anew."""
    box = page.evaluate("document.querySelector('#marks .here').getBoundingClientRect().toJSON()")
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_legend_counts_and_filters(site: Site, page: Page) -> None:
    site.open(page)
    data = site.data()
    shown = page.locator("#legend li").all_inner_texts()
    counts = [(name, data["state"].count(code)) for code, name in enumerate(STATES)]
    expected = [f"{name} {count}" for name, count in counts if count or name != STATES[COPY]]
    assert [" ".join(text.split()) for text in shown] == expected
    page.click("#tab-list")
    page.uncheck("#legend li[data-entry='unlabelled'] input")
    left = len(data["ids"]) - data["state"].count(0)
    expect(page.locator(".images [role=option]")).to_have_count(left)
    page.check("#legend li[data-entry='unlabelled'] input")
    for by, entries in (("cluster", max(data["cluster"]) + 1), ("entropy", 2), ("quality", 2)):
        page.select_option("#colour-by", by)
        expect(page.locator("#legend li")).to_have_count(entries)
        expect(page.locator("#legend .ramp-ends")).to_have_count(int(by != "cluster"))
    expect(page.locator("#legend .ramp-ends")).to_have_text("0: no overlap1: same as the label")
    page.select_option("#colour-by", "entropy")
    expect(page.locator("#legend .ramp-ends")).to_have_text("lowest in this poolhighest in this pool")
    expect(page.locator("#status")).to_contain_text("active · round 1 · 7 of 17 labelled")
    expect(page.locator("#left-out")).to_contain_text("1 cannot be read")


def test_the_colours_on_the_map_are_those_of_the_legend(site: Site, page: Page) -> None:
    site.open(page)
    data = site.data()
    image = data["ids"][data["state"].index(LABELLED_ACTIVE)]
    x, y = place(page, image)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    near = {shot.getpixel((round(x) + dx, round(y) + dy)) for dx in (-2, 0, 2) for dy in (-2, 0, 2)}
    assert any(abs(r - 0) < 40 and abs(g - 158) < 40 and abs(b - 115) < 40 for r, g, b in near), near


def test_hovering_shows_a_thumbnail_and_a_click_the_history(site: Site, page: Page) -> None:
    site.open(page)
    data = site.data()
    image = data["ids"][data["state"].index(LABELLED_ACTIVE)]
    x, y = place(page, image)
    page.mouse.move(x, y, steps=4)
    expect(page.locator("#hover img")).to_be_visible()
    card = page.locator("#hover").inner_text().splitlines()
    hovered = data["ids"].index(card[0])
    assert card[1] == f"state: {STATES[data['state'][hovered]]}"
    page.mouse.click(x, y)
    expect(page.locator("#panel-image h2")).to_have_text(card[0])
    expect(page.locator("#large")).to_be_visible()
    page.click("#tab-list")  # a near image may lie above the one that was looked for
    page.fill("#panel-list input[type=search]", image)
    page.click(f".images [data-image='{image}']")
    expect(page.get_by_role("link", name="Label this")).to_have_attribute("href", f"label?image={image}")
    given = page.locator(".events [data-event=handout]")
    expect(given).to_contain_text("ada")
    expect(given.locator(".why")).to_contain_text("The model of round 1 is")
    expect(given.locator(".why")).to_contain_text("Rule active")
    expect(given.locator(".numbers")).not_to_have_attribute("open", "")
    expect(given.locator(".numbers")).to_contain_text("entropy (nats)")
    expect(given.locator(".near img")).to_have_count(4)
    expect(page.locator("#overlay[data-of=label]")).to_be_visible()
    page.check("input[name=overlay][value=prediction]")
    expect(page.locator("#overlay[data-of=prediction]")).to_be_visible(timeout=30_000)
    expect(page.locator("#names")).to_contain_text("right lung")
    page.check("input[name=overlay][value=uncertainty]")
    expect(page.locator("#overlay[data-of=uncertainty]")).to_be_visible(timeout=30_000)


def test_lasso_and_skip_keep_images_from_annotators(site: Site, page: Page) -> None:
    site.open(page)
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.keyboard.down("Shift")
    left, top, right, bottom = (
        box["x"] + 4,
        box["y"] + 60,
        box["x"] + box["width"] / 2,
        box["y"] + box["height"],
    )
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom - 4), (left, bottom - 4), (left, top + 2)):
        page.mouse.move(x, y, steps=6)
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(page.locator("#mark-skip")).to_be_enabled()
    page.click("#tab-list")
    chosen = page.locator(".images [aria-selected=true]").evaluate_all(
        "all => all.map(one => one.dataset.image)"
    )
    free = [image for image in chosen if image in site.plan()]
    assert 1 <= len(free) < len(site.plan())
    for image in set(chosen) - set(free):  # labelled or handed out: Space takes them out again
        page.fill("#panel-list input[type=search]", image)
        page.focus(".images")
        page.keyboard.press("Space")
    site.state.marks.put("next", [free[0]], "lead", "rare")
    page.fill("#reason", "rotated")
    page.click("#mark-skip")
    expect(page.locator("#marked")).to_contain_text(f"{len(free)} image")
    site.wait(page)
    assert site.state.handouts.skipped() == dict.fromkeys(free, "rotated")
    assert not set(site.plan()) & set(free) and site.next_sample() not in free
    page.get_by_role("button", name="Undo").click()
    count = f"{len(free)} image" + ("s" if len(free) > 1 else "")
    expect(page.locator("#marked")).to_have_text(f"Undone: Skip of {count}.")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    assert not site.state.handouts.skipped(), "in one click"
    (mark,) = (mark for mark in site.state.marks.all() if mark.kind == "next")
    assert (mark.image, mark.reason) == (free[0], "rare"), "as it was before"
    site.state.marks.remove([free[0]], "lead")


def test_finished_images_are_opened_again_and_closed(site: Site, page: Page) -> None:
    site.open(page)
    data = site.data()
    states = [data["states"][state] for state in data["state"]]
    done, free = (
        next(image for image, state in zip(data["ids"], states, strict=True) if state.startswith(word))
        for word in ("labelled", "unlabelled")
    )
    page.click("#tab-list")
    page.fill("#panel-list input[type=search]", done)
    page.focus(".images")
    page.keyboard.press("Enter")
    page.click("#finished button")
    expect(page.locator("#finished")).to_contain_text("It is open again")
    expect(page.locator(".events li").last).to_contain_text("Opened again")
    expect(page.locator("#marked")).to_have_text("1 image opened again.")
    assert [mark.image for mark in site.state.reopened.all()] == [done]
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#marked")).to_have_text("Undone: Open again of 1 image.")
    assert not site.state.reopened.all()
    expect(page.locator("#finished button")).to_be_visible()
    page.click("#tab-list")
    for image in (free, done):  # of both, the finished one
        page.fill("#panel-list input[type=search]", image)
        page.focus(".images")
        page.keyboard.press("Space")
        expect(page.locator("#mark-reopen")).to_be_enabled(enabled=image == done)
    page.click("#mark-reopen")
    expect(page.locator("#marked")).to_have_text("1 image opened again.")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#marked")).to_have_text("Undone: Open again of 1 image.")
    assert not site.state.reopened.all()


def test_the_plan_and_its_preview_are_on_the_page(site: Site, page: Page) -> None:
    site.open(page)
    listed = page.locator("#panel-plan .picks button").evaluate_all(
        "all => all.map(one => one.dataset.image)"
    )
    assert listed == site.plan() and listed[0] == site.next_sample()
    expect(page.locator("#marks circle.plan")).to_have_count(len(listed))
    page.focus("#alpha")
    page.keyboard.press("End")
    expect(page.locator("#preview")).to_contain_text("With alpha 1 instead of 0.3")
    other = page.locator("#preview .picks button").evaluate_all("all => all.map(one => one.dataset.image)")
    assert other == [pick["image"] for pick in site.get("preview", alpha=1).json()["picks"]]
    expect(page.locator("#marks rect.preview")).to_have_count(len(other))
    page.get_by_text("Back to the plan").click()
    expect(page.locator("#marks rect.preview")).to_have_count(0)
    page.click("#panel-plan > .picks button >> nth=1")
    expect(page.locator("#planned")).to_contain_text("model of round 1")


def test_an_alpha_that_was_looked_at_can_be_used_and_taken_back(site: Site, page: Page) -> None:
    site.open(page)
    page.focus("#alpha")
    page.keyboard.press("End")
    wanted = site.get("preview", alpha=1, count=20).json()["picks"]
    page.click("#apply-alpha")
    expect(page.locator("#revert-alpha")).to_contain_text("alpha is now 1: back to the setting, 0.3")
    until(lambda: site.plan() == [pick["image"] for pick in wanted])  # the worker plans it
    page.click("#revert-alpha")
    expect(page.locator("#revert-alpha")).to_be_hidden()
    assert site.get("plan").json()["alpha"] == 0.3


def test_progress_and_results_have_a_page_of_their_own(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/selection/progress")
    status = site.get("status").json()
    expect(page.locator("#counts")).to_contain_text(f"{status['labelled']} of {status['images']}")
    expect(page.locator("#counts")).to_contain_text("active")
    expect(page.locator("#choosing")).to_contain_text("--conf says so; the default is maxherding and random.")
    end = time.monotonic() + 120
    while (
        dice := site.get("results.json").json()["rounds"][0]["dice"]
    ) is None:  # measured in the background
        assert time.monotonic() < end
        time.sleep(1)
    row = page.locator("#results tbody tr").first
    expect(row).to_contain_text(f"{dice['mean']:.3f}")
    expect(page.locator("#results")).to_contain_text("ada")
    expect(page.locator("#results .advice")).to_contain_text("No advice yet")
    assert page.locator("#results img").evaluate("image => image.complete && image.naturalWidth") > 500
    for button, start in (("CSV", b"round,labels"), ("PNG", b"\x89PNG"), ("report", b"<!doctype html>")):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        assert Path(download.value.path()).read_bytes().startswith(start)
    page.click("text=Map")
    page.wait_for_selector("body[data-version]")


def test_the_next_step_is_on_every_page(site: Site, page: Page, browser: Browser) -> None:
    desk = browser.new_page()  # asks for a label and a draft, and Chromium notes that there are none
    desk.add_init_script("localStorage.setItem('selection-name-asked', 'yes')")
    for name, shown in (("map", page), ("progress", page), ("label", desk)):
        shown.goto(f"{site.url}/selection/{name}")
        expect(shown.locator("#guide .step")).to_have_text("Next: Train a model, with 2 new labels.")
        expect(shown.locator("#guide").get_by_role("button", name="Train")).to_be_enabled()
        links = shown.locator("#guide").get_by_role("link", name="Label the next image")
        expect(links).to_have_count(int(name != "label"))
    desk.close()


def test_words_explain_themselves_to_mouse_and_keyboard(site: Site, page: Page) -> None:
    site.open(page)
    expect(page.locator(".signs")).to_contain_text("comes next, in the order of the numbers")
    page.hover("[data-term=alpha]")
    expect(page.get_by_role("tooltip")).to_contain_text("0 picks the images that the model is least sure of")
    page.mouse.move(5, 5)
    expect(page.get_by_role("tooltip")).to_be_hidden()
    page.focus("#panel-plan [data-term=active]")
    expect(page.get_by_role("tooltip")).to_contain_text("There is a model")
    page.keyboard.press("Escape")
    expect(page.get_by_role("tooltip")).to_be_hidden()


def test_zooming_keeps_the_image_that_the_keys_are_on(site: Site, page: Page) -> None:
    site.open(page)
    x, y = place(page, site.data()["ids"][0])
    page.focus("#canvas")
    for _ in range(3):
        page.keyboard.press("+")
        page.wait_for_timeout(300)
    assert ringed(page) == pytest.approx((x, y), abs=6)


def test_a_narrow_window_begins_with_the_map(site: Site, page: Page) -> None:
    page.set_viewport_size({"width": 800, "height": 1000})
    site.open(page)
    (stage, side), width = (page.locator(name).bounding_box() for name in ("#stage", ".side >> nth=0")), 800
    assert stage and side and stage["y"] < 200 and stage["height"] > 500 and side["y"] > stage["y"] + 500
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut off"


def test_what_fails_once_is_asked_for_again(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    try:
        page.route("**/selection/plan*", lambda route: route.fulfill(status=503, body="busy"), times=1)
        page.goto(f"{site.url}/selection/map")
        expect(page.locator("#status")).to_have_text("busy")
        expect(page.locator("#panel-plan .picks button")).to_have_count(
            len(site.plan()), timeout=8_000
        )  # before anything on the map changes
    finally:
        page.close()


def test_it_works_without_a_mouse(site: Site, page: Page) -> None:
    site.open(page)
    page.focus("#canvas")
    page.keyboard.press("ArrowRight")  # begins at the plan's first
    expect(page.locator("#spoken")).to_contain_text(site.plan()[0])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    expect(page.locator("#marked")).to_have_text("1 image")
    page.keyboard.press("Enter")
    opened = page.locator("#panel-image h2").inner_text()
    expect(page.locator("#spoken")).to_contain_text(opened)
    page.focus("#tab-image")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#panel-list")).to_be_visible()
    page.focus(".images")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#panel-image h2")).to_have_text(site.plan()[1])


# authentication ---------------------------------------------------------------------------------------


def test_with_authentication_the_shell_is_empty_and_asks_for_a_name(
    phantoms: Path, start: Callable[..., Server], browser: Browser, tmp_path: Path
) -> None:
    shutil.copytree(phantoms / "studies", tmp_path / "studies")
    issuer = Issuer()
    issuer.start()
    server = start(tmp_path / "studies", tmp_path / "state", env=settings(issuer), prepared=True)
    files = [
        "map.js",
        "map.css",
        "page.css",
        "progress.js",
        "progress.css",
        "label.js",
        "label.css",
        "NOTICE.txt",
    ]
    for path in ("map", "progress", "label", *(f"static/{file}" for file in files)):
        shell = requests.get(f"{server.url}/selection/{path}", timeout=60)
        assert shell.status_code == 200 and "phantom_" not in shell.text
    assert requests.get(f"{server.url}/selection/static/..%2fmap.py", timeout=60).status_code == 401
    data = ("map/data", "plan", "preview?alpha=1", "images/history?image=x", "images/thumbnail?image=x")
    results = ("progress/data", "results", "results.json", "results.csv", "results.png", "report.html")
    for path in (*data, *results):
        assert requests.get(f"{server.url}/selection/{path}", timeout=60).status_code == 401
    for path, body in (("marks", {"kind": "skip", "images": ["x"]}), ("alpha", {"alpha": 1})):
        assert requests.post(f"{server.url}/selection/{path}", json=body, timeout=60).status_code == 401
    page = browser.new_page()
    try:
        page.goto(f"{server.url}/selection/map")
        page.fill("input[name=username]", "ada")
        page.fill("input[name=password]", "wrong")
        page.click("dialog button")
        expect(page.locator("dialog .wrong")).to_contain_text("Invalid user credentials")
        page.fill("input[name=password]", PASSWORD)
        page.click("dialog button")
        page.wait_for_selector("body[data-version]")
        page.wait_for_selector("#panel-plan .picks .thumb[src^='blob:']", timeout=60_000)
        assert page.evaluate("sessionStorage.length") == 1
    finally:
        page.close()
        issuer.stop()
