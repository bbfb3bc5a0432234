"""The desk in a real browser on a real server: what is drawn is what is stored, voxel for voxel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, expect
from pydicom.uid import generate_uid
from scipy.spatial.transform import Rotation

from benchmarks.desk.page import DeskPage, Pixel
from benchmarks.server_process import Server
from pool.imaging.labels import read_label
from tests.orthanc import Orthanc, radiograph
from tests.server.conftest import TINY
from tests.server.pages.desk import polygon, reader, stroke
from tests.server.published import publish

ROWS = np.random.default_rng(7).integers(1, 250, (70, 110), dtype=np.uint8)
LUNGS = {"right lung": 1, "left lung": 2}
VOLUMES = {
    "channels": "[4,8]",
    "window": "[16,16,8]",
    "labels": '{"oedema": 1, "tumour": 2}',
    "instant": False,
}
TOOLS = ["Brush", "Eraser", "Polygon", "Fill", "Threshold brush", "Smooth", "Keep largest", "Undo", "Redo"]
TOOLS += ["Pan", "Zoom", "Window", "Invert", "Hide"]
ODD = "odd <img src=x onerror=alert(1)> 1.2"


class Site:
    """A server without a model, on pictures of 70 rows and 110 columns."""

    def __init__(self, server: Server, studies: Path) -> None:
        self.url, self.studies = server.url, studies

    def label(self, image: str) -> np.ndarray:
        """Return the stored label as it is seen on the screen."""
        answer = requests.get(f"{self.url}/selection/image/{image}/label", timeout=60)
        assert answer.status_code == 200, answer.text
        shape = [int(size) for size in answer.headers["X-Shape"].split(",")]
        return np.frombuffer(answer.content, np.uint8).reshape(shape)

    def history(self, image: str) -> list[dict]:
        answer = requests.get(f"{self.url}/selection/images/history", params={"image": image}, timeout=60)
        return list(answer.json()["events"])

    def labels(self, image: str) -> list[dict]:
        """Return what the ledger keeps of an image's labels; background work makes entries of its own."""
        return [entry["details"] for entry in self.history(image) if entry["event"] == "label"]

    def held_by(self, name: str) -> list[str]:
        answer = requests.get(f"{self.url}/selection/handouts", timeout=60).json()
        return [lease["image"] for lease in answer["open"] if lease["client"] == name]

    def save(self, image: str, path: Path, name: str) -> None:
        """Save a label as Slicer does."""
        with open(path, "rb") as file:
            answer = requests.put(
                f"{self.url}/datastore/label",
                params={"image": image, "tag": "final"},
                data={"params": f'{{"client_id": "{name}"}}'},
                files={"label": (path.name, file)},
                timeout=60,
            )
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def site(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Site:
    studies = tmp_path_factory.mktemp("desk") / "studies"
    studies.mkdir()
    for i in range(20):
        Image.fromarray(np.roll(ROWS, 5 * i, axis=1)).save(studies / f"wide_{i:02}.png")
    Image.fromarray(ROWS).save(studies / f"{ODD}.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(ROWS.T.copy()).save(studies / "turned.jpg", exif=exif)
    deep = radiograph("deep", ROWS, "DX")
    deep.PixelData = (ROWS.astype("<u2") * 16 + 7).tobytes()
    deep.ImagerPixelSpacing = [0.3, 0.3]
    deep.SOPInstanceUID = generate_uid()
    deep.save_as(studies / "deep.dcm", write_like_original=False)
    return Site(start(studies, studies.parent / "state", instant=False), studies)  # nothing is pre-drawn


@pytest.fixture
def ann(site: Site, browser: Browser) -> Iterator[DeskPage]:
    with reader(browser, site.url, "ann", ROWS.shape) as desk:
        yield desk


def draw(desk: DeskPage) -> np.ndarray:
    """Draw with mouse and keys, in both structures; return what the label should be."""
    mask = np.zeros(desk.shape, np.uint8)

    def brush(pixels: list[Pixel], size: int, value: int) -> None:
        stroke(mask, pixels, size, value, desk.aspect)

    desk.press("1")
    desk.resize(7)
    desk.drag((20, 20), (60, 45), (15, 60))
    brush([(20, 20), (60, 45), (15, 60)], 7, 1)
    desk.press("2", "p")
    corners = [(50, 10), (100, 14), (90, 50), (70, 30)]
    for corner in corners:
        desk.click(corner)
    desk.press("Enter")
    polygon(mask, corners, 2, desk.aspect)
    desk.press("e", "[")  # 5 pixels
    desk.drag((85, 5), (85, 65))
    brush([(85, 5), (85, 65)], 5, 0)
    desk.press("b", "1", "[", "[", "ArrowRight")  # 1 pixel; the cursor appears in the middle
    rows, columns = desk.shape
    middle = (columns // 2, rows // 2)
    desk.press("ArrowUp", "Shift+ArrowLeft")
    desk.page.keyboard.down("Space")
    for _ in range(4):
        desk.page.keyboard.press("ArrowDown")
    desk.page.keyboard.up("Space")
    brush([(middle[0] - 10, middle[1] - 1), (middle[0] - 10, middle[1] + 3)], 1, 1)
    desk.drag((5, 5), (30, 5))
    desk.press("Control+z", "Control+Shift+z", "z")
    return mask


@pytest.mark.parametrize("image", ["wide_00", "turned", "deep"])
def test_what_is_drawn_is_stored(site: Site, ann: DeskPage, image: str) -> None:
    assert ann.open(image) == image
    mask = draw(ann)
    ann.press("Enter")
    expect(ann.message).to_contain_text(f"{image} saved")
    np.testing.assert_array_equal(site.label(image), mask)
    (file,) = (site.studies / "labels" / "final").glob(f"{image}.*")
    (path,) = site.studies.glob(f"{image}.*")
    own = read_label(file, LUNGS, path)  # columns x rows; orientation 6: the file's rows are columns
    np.testing.assert_array_equal(own[:, ::-1] if image == "turned" else own.T, mask)
    label = site.labels(image)[-1]
    assert label["tools"]["brush"] >= 2 and label["tools"]["polygon"] == 1 and label["tools"]["undo"] == 2
    assert 0 < label["seconds"] < 60


def test_what_is_drawn_on_a_dicom_server_is_stored(
    make_orthanc: Callable[[], Orthanc], start: Callable[..., Server], browser: Browser, tmp_path: Path
) -> None:
    orthanc = make_orthanc()
    (series,) = orthanc.add(radiograph("inverse", ROWS, "CR", inverse=True))
    site = Site(start(orthanc.url, tmp_path / "state", instant=False), tmp_path)
    with reader(browser, site.url, "ann", ROWS.shape, aspect=0.4 / 0.3) as desk:
        assert desk.open() == series
        mask = draw(desk)
        desk.press("Enter")
        expect(desk.page.locator("#notice")).to_contain_text("Everything is labelled")
    np.testing.assert_array_equal(site.label(series), mask)


def test_slices_of_an_oblique_volume_are_drawn(tmp_path: Path, browser: Browser) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    values = np.random.default_rng(2).integers(-1000, 2000, (20, 70, 110)).astype(np.int16)
    affine = np.eye(4)
    turn = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]])
    oblique = Rotation.from_euler("xyz", (9, -7, 5), degrees=True).as_matrix()
    affine[:3, :3] = oblique @ turn * (2.0, 0.8, 0.8)
    nibabel.save(nibabel.Nifti1Image(values, affine), studies / "oblique.nii.gz")
    conf = VOLUMES | {"state": tmp_path / "state"}
    with Server("volumes", studies, conf, tmp_path / "server.log") as server:
        server.wait()
        site = Site(server, studies)
        with reader(browser, server.url, "ann", ROWS.shape) as desk:
            desk.open("oblique")
            expect(desk.page.locator("#slice-shown")).to_have_text("11 of 20")
            expected = np.zeros(values.shape, np.uint8)
            expected[10] = draw(desk)
            desk.page.mouse.wheel(0, -100)
            desk.press("PageDown", "PageDown")
            expect(desk.page.locator("#slice-shown")).to_have_text("8 of 20")
            desk.resize(9)
            desk.press("b", "2")
            desk.drag((30, 30), (70, 35))
            stroke(expected[7], [(30, 30), (70, 35)], 9, 2)
            desk.press("Enter")
            expect(desk.page.locator("#notice")).to_contain_text("Everything is labelled")
            leaf_through_on_the_map(desk)
        np.testing.assert_array_equal(site.label("oblique"), expected)


def leaf_through_on_the_map(desk: DeskPage) -> None:
    """Open the volume on the map, and go to slices with and without a label by keys."""
    page = desk.page
    page.goto(f"{desk.url}/map")
    page.wait_for_selector("body[data-version]")
    page.click("#tab-list")
    page.click(".images [data-image='oblique']")
    expect(page.locator("#slices output")).to_have_text("11 of 20")
    expect(page.locator("#overlay[data-of=label]")).to_be_visible()
    middle = page.locator("#large").get_attribute("src")
    page.focus("#map-slice")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#slices output")).to_have_text("8 of 20")
    expect(page.locator("#large")).not_to_have_attribute("src", str(middle))
    expect(page.locator("#overlay")).to_have_count(1)


# tools ------------------------------------------------------------------------------------------------


def test_every_tool_has_a_button_and_a_key(ann: DeskPage) -> None:
    ann.open("wide_01")
    for name in TOOLS:
        expect(ann.button(name)).to_have_count(1)
        assert ann.button(name).get_attribute("aria-keyshortcuts")
    for width, height in ((1440, 900), (1280, 720), (800, 1000)):
        ann.page.set_viewport_size({"width": width, "height": height})
        for name in [*TOOLS, "Submit and next", "Accept", "Nothing to label", "Skip"]:
            expect(ann.button(name)).to_be_in_viewport(ratio=1)
        assert ann.page.evaluate("document.documentElement.scrollWidth") == width


def test_areas_thresholds_and_parts(site: Site, ann: DeskPage) -> None:
    image = "wide_02"
    ann.open(image)
    shown = np.asarray(Image.open(site.studies / f"{image}.png"))
    mask = np.zeros(ROWS.shape, np.uint8)
    ann.resize(1)
    ann.drag((10, 10), (40, 10), (40, 40), (10, 40), (10, 10))
    ann.press("f")
    ann.click((20, 20))
    mask[10:41, 10:41] = 1
    ann.press("b")
    ann.resize(3)
    ann.click((60, 60))  # a small part, which goes away again
    ann.press("l")
    ann.press("t", "2")
    ann.resize(21)
    ann.page.fill("#range-low", "100")
    ann.page.fill("#range-high", "180")
    ann.page.focus("#canvas")
    ann.drag((80, 35), (95, 35))
    brushed = np.zeros_like(mask)
    stroke(brushed, [(80, 35), (95, 35)], 21, 1)
    mask[(brushed > 0) & (shown >= 100) & (shown <= 180)] = 2
    ann.page.get_by_label("Show left lung").uncheck()  # hidden structures are not changed
    ann.press("b", "1")
    ann.drag((80, 35), (95, 35))
    mask[(brushed > 0) & (mask != 2)] = 1
    ann.press("Enter")
    expect(ann.message).to_contain_text(f"{image} saved")
    np.testing.assert_array_equal(site.label(image), mask)


def picture(desk: DeskPage) -> str:
    """Return what the canvas shows after its next frame, as a PNG in base64."""
    draw = "async (canvas) => (await new Promise(requestAnimationFrame), canvas.toDataURL())"
    return str(desk.page.locator("#canvas").evaluate(draw))


def test_a_hundred_steps_can_be_undone_and_redone(site: Site, ann: DeskPage) -> None:
    image = "wide_03"
    ann.open(image)
    ann.resize(1)
    for step in range(104):
        ann.click((step, step % 70))
    drawn = picture(ann)
    ann.press(*["z"] * 101)
    expect(ann.page.locator("#structures small").first).to_have_text("3")
    assert picture(ann) != drawn
    ann.press(*["y"] * 101)
    assert picture(ann) == drawn  # redrawn piece by piece
    ann.press("0")
    assert picture(ann) == drawn  # redrawn as a whole
    ann.press("z")
    ann.page.get_by_role("button", name="Submit and next").click()
    expect(ann.message).to_contain_text(f"{image} saved")
    mask = np.zeros(ROWS.shape, np.uint8)
    for step in range(103):
        mask[step % 70, step] = 1
    np.testing.assert_array_equal(site.label(image), mask)


# flow -------------------------------------------------------------------------------------------------


def test_a_reload_in_the_middle_finds_the_drawing_again(site: Site, ann: DeskPage) -> None:
    image = ann.open()
    ann.resize(9)
    ann.drag((20, 20), (60, 45))
    ann.page.wait_for_timeout(3_000)
    ann.page.reload()
    assert ann.wait(image) == image
    expect(ann.page.locator("#start")).to_contain_text("draft")
    ann.press("Enter")
    expect(ann.message).to_contain_text(f"{image} saved")
    mask = np.zeros(ROWS.shape, np.uint8)
    stroke(mask, [(20, 20), (60, 45)], 9, 1)
    np.testing.assert_array_equal(site.label(image), mask)


def test_two_pages_never_hold_one_image(site: Site, ann: DeskPage, browser: Browser) -> None:
    with reader(browser, site.url, "ben", ROWS.shape) as ben:
        seen = {ann.open(), ben.open()}
        assert len(seen) == 2
        for _ in range(2):
            now = []
            for desk in (ann, ben):
                before = desk.wait()
                desk.drag((20, 20), (60, 45))
                desk.press("Enter")
                expect(desk.message).to_contain_text(f"{before} saved")
                now.append(desk.wait())
            assert not seen & set(now) and len(set(now)) == 2
            seen |= set(now)
        ben.open(now[0])  # chosen, although ann has it
        expect(ben.message).to_contain_text("in the hands of ann")


def test_two_tabs_of_one_browser_do_not_draw_on_one_image(ann: DeskPage) -> None:
    image = ann.open()
    other = ann.page.context.new_page()
    other.goto(f"{ann.url}/label")
    expect(other.locator("#notice")).to_contain_text(f"{image} is open in another tab")
    other.get_by_role("button", name="Open it here").click()
    other.wait_for_selector(f"body[data-shown='{image}']")
    expect(other.get_by_role("button", name="Skip")).to_be_enabled()


def test_nothing_to_label_can_be_undone(site: Site, ann: DeskPage) -> None:
    image = ann.open()
    ann.drag((20, 20), (60, 45))
    ann.button("Nothing to label").click()
    expect(ann.message).to_contain_text(f"{image} saved as having nothing to label")
    assert not site.label(image).any()
    ann.button("Undo").last.click()
    ann.wait(image)
    ann.press("Enter")
    expect(ann.message).to_contain_text(f"{image} saved, version 2")
    assert site.label(image).any()


def test_skips_have_a_reason_that_cannot_run(site: Site, ann: DeskPage) -> None:
    ann.page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    ann.open(ODD)
    expect(ann.page.locator("#image-name")).to_have_text(ODD)
    ann.button("Skip").click()
    ann.page.get_by_role("combobox", name="Reason").fill("<img src=x onerror=alert(2)>")
    ann.page.keyboard.press("Enter")
    expect(ann.message).to_contain_text(f"{ODD} skipped")
    ann.wait()
    assert site.history(ODD)[-1]["reason"] == "<img src=x onerror=alert(2)>"
    ann.button("Undo").last.click()
    ann.wait()


def test_a_label_is_opened_again_and_gets_a_new_version(site: Site, ann: DeskPage, tmp_path: Path) -> None:
    image = ann.open()
    Image.fromarray(np.ones(ROWS.shape, np.uint8)).save(tmp_path / "whole.png")
    site.save(image, tmp_path / "whole.png", "ann")
    ann.open(image)
    expect(ann.page.locator("#start")).to_contain_text("Label version 1")
    before = site.label(image).copy()
    ann.press("e")
    ann.resize(31)
    ann.click((60, 45))
    stroke(before, [(60, 45)], 31, 0)
    ann.press("Enter")
    expect(ann.message).to_contain_text(f"{image} saved, version 2")
    np.testing.assert_array_equal(site.label(image), before)


def test_everything_is_given_back_by_a_key_and_taken_again(site: Site, ann: DeskPage) -> None:
    image = ann.open()
    ann.drag((20, 20), (60, 45))
    ann.press("g")
    notice = ann.page.locator("#notice")
    expect(notice).to_contain_text(f"Given back: {image}. Whatever you drew is kept as a draft.")
    expect(notice.get_by_role("button", name="Next image")).to_be_focused()
    assert site.held_by("ann") == []
    notice.get_by_role("button", name="Undo").click()
    ann.wait(image)
    expect(ann.message).to_have_text(f"Taken back: {image}.")
    expect(ann.page.locator("#start")).to_have_text("Your draft goes on.")
    assert site.held_by("ann") == [image]
    ann.button("Give back all").click()
    expect(notice).to_contain_text("Given back")
    ann.button("Give back all").click()
    expect(notice).to_contain_text("You hold no image.")
    ann.page.keyboard.press("Enter")
    ann.wait()


def test_a_finished_image_is_opened_again_for_whoever_asks_next(
    site: Site, ann: DeskPage, browser: Browser, tmp_path: Path
) -> None:
    image = ann.open()
    expect(ann.button("Open again")).to_be_hidden()
    half = np.ones(ROWS.shape, np.uint8)
    half[:30] = 0
    Image.fromarray(half).save(tmp_path / "half.png")
    site.save(image, tmp_path / "half.png", "ann")
    ann.open(image)
    expect(ann.button("Open again")).to_be_visible()
    ann.press("r")
    expect(ann.message).to_contain_text(f"{image} is open again: whoever asks next gets it")
    ann.message.get_by_role("button", name="Undo").click()
    expect(ann.message).to_have_text(f"{image} is finished again.")
    assert [event["event"] for event in site.history(image)][-2:] == ["reopen", "unmark"]
    ann.button("Open again").click()
    expect(ann.message).to_contain_text("is open again")
    with reader(browser, site.url, "eve", ROWS.shape) as eve:
        assert eve.open() == image
        expect(eve.page.locator("#why")).to_contain_text("ann reopened it")
        eve.press("Enter")
        expect(eve.message).to_contain_text("The label is unchanged. If it is right, press Accept.")
        eve.button("Accept").first.click()
        expect(eve.message).to_contain_text(f"{image} saved, version 2")
        assert eve.wait() != image, "it is finished"
    np.testing.assert_array_equal(site.label(image), half)


# errors -----------------------------------------------------------------------------------------------


def test_a_drawing_outlives_a_server_that_is_away(site: Site, ann: DeskPage) -> None:
    image = ann.open()
    ann.drag((20, 20), (60, 45))
    ann.page.context.set_offline(True)
    ann.press("Enter")
    expect(ann.message).to_contain_text("does not answer. Is it running? Your drawing is kept")
    ann.drag((20, 60), (60, 60))
    ann.page.wait_for_timeout(3_500)
    expect(ann.message).to_contain_text("does not answer")
    ann.page.context.set_offline(False)
    expect(ann.message).to_contain_text(f"{image} saved", timeout=10_000)
    mask = np.zeros(ROWS.shape, np.uint8)
    for pixels in ([(20, 20), (60, 45)], [(20, 60), (60, 60)]):
        stroke(mask, pixels, 15, 1)
    np.testing.assert_array_equal(site.label(image), mask)


def test_the_second_of_two_readers_decides(site: Site, ann: DeskPage, tmp_path: Path) -> None:
    image = ann.open()
    ann.resize(1)
    ann.click((3, 3))  # a structure of one pixel
    Image.fromarray(np.ones(ROWS.shape, np.uint8)).save(tmp_path / "whole.png")
    site.save(image, tmp_path / "whole.png", "slicer")
    ann.press("Enter")
    expect(ann.message).to_contain_text("slicer saved a label")
    ann.button("Save mine").click()
    expect(ann.message).to_contain_text(f"{image} saved, version 2")
    assert site.label(image).sum() == site.label(image)[3, 3] == 1


def test_what_the_server_refuses_is_kept_with_why(site: Site, ann: DeskPage) -> None:
    image = ann.open()
    ann.press("Enter")
    expect(ann.message).to_contain_text("Nothing is drawn")
    ann.drag((20, 20), (60, 45))
    path = site.studies / f"{image}.png"
    shutil.copy(path, path.with_suffix(".kept"))
    Image.fromarray(ROWS[:50]).save(path)
    ann.press("Enter")
    expect(ann.message).to_contain_text("load it again")
    expect(ann.page.locator("#structures small").first).not_to_be_empty()
    path.with_suffix(".kept").rename(path)
    ann.page.route(
        "**/label", lambda route: route.fulfill(status=507, json={"detail": "the disk is full"}), times=1
    )
    ann.button("Try again").click()
    expect(ann.message).to_contain_text("your drawing is kept: the disk is full")
    ann.button("Try again").click()
    expect(ann.message).to_contain_text(f"{image} saved")


def test_an_image_that_goes_away_is_said(site: Site, ann: DeskPage) -> None:
    image = ann.open()
    ann.drag((20, 20), (60, 45))
    next(site.studies.glob(f"{image}.*")).unlink()
    ann.press("Enter")
    expect(ann.message).to_contain_text("has been removed")
    ann.button("Next image").click()
    assert ann.wait() != image


# with a model -----------------------------------------------------------------------------------------


def test_a_prelabel_is_accepted_or_corrected(
    phantoms: Path, start: Callable[..., Server], browser: Browser, tmp_path: Path
) -> None:
    shutil.copytree(phantoms / "studies", tmp_path / "studies")
    server = start(tmp_path / "studies", tmp_path / "state", prepared=True, instant=False)
    site = Site(server, tmp_path / "studies")
    with reader(browser, site.url, "ann", (128, 128)) as desk:
        first = desk.open()
        expect(desk.page.locator("#start")).to_contain_text("empty label")
        values = {key: TINY[key] for key in ("image_size", "channels", "epochs")}
        publish(tmp_path / "state", "cxr_lungs", values)  # the first model comes while the image is open
        expect(desk.button("Accept")).to_be_enabled(timeout=30_000)
        desk.press("Enter")
        expect(desk.message).to_contain_text("press Accept")
        shown = desk.page.request.get(f"{desk.url}/image/{first}/prelabel").body()
        began = desk.page.evaluate("performance.now()")
        desk.button("Accept").first.click()
        expect(desk.message).to_contain_text(f"{first} saved")
        second = desk.wait()
        assert site.label(first).tobytes() == shown and second != first
        assert site.labels(first)[-1]["state"] == "confirmed"
        assert desk.page.evaluate("performance.now()") - began < 5_000
        expect(desk.button("Accept")).to_be_enabled(timeout=30_000)
        desk.drag((20, 20), (60, 45))
        expect(desk.button("Accept")).to_be_disabled()
        desk.press("z")
        expect(desk.button("Accept")).to_be_enabled()
        desk.press("y", "Enter")
        expect(desk.message).to_contain_text(f"{second} saved")
        assert site.labels(second)[-1]["state"] == "edited"
        assert site.labels(second)[-1]["model"] == "segmentation"
        third = desk.wait()
        prediction = desk.page.request.get(f"{desk.url}/image/{third}/prelabel").body()
        about = {"shape": [128, 128], "dtype": "uint8", "state": "edited"}
        form = {"mask": {"name": "mask", "mimeType": "application/octet-stream", "buffer": prediction}}
        desk.page.request.put(
            f"{desk.url}/image/{third}/label", multipart=form | {"params": json.dumps(about)}
        )
        desk.open(third)  # nobody has looked at this label
        expect(desk.message).to_contain_text("counts only when somebody confirms it")
        desk.button("Confirm").click()
        expect(desk.message).to_contain_text(f"{third} is confirmed")
        assert desk.page.request.get(f"{desk.url}/status").json()["labelled"] == 3
