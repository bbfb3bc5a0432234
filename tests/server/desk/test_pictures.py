"""Pictures at the desk of a real server: what is seen is what is stored, and nobody overwrites anybody."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image, ImageOps
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from benchmarks.server_process import ROOT, Server
from pool.database.handouts import Client
from pool.database.state import State
from pool.imaging.images import read_image
from pool.imaging.labels import read_label
from server.cli.main import app
from tests.orthanc import radiograph
from tests.pool.imaging import test_geometry
from tests.pool.imaging.test_limits import png
from tests.server.conftest import TINY
from tests.server.desk.conftest import Browser, stored
from tests.server.polling import until
from tests.server.published import publish

LUNGS = {"right lung": 1, "left lung": 2}
ROWS = np.random.default_rng(7).integers(0, 256, (70, 110), dtype=np.uint8)


_numbers = count()


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    """Draw a label that no other image has: two with the same would be doubted."""
    mask = test_geometry.drawn(shape).copy()
    mask.reshape(-1)[next(_numbers)] = 1
    return mask


class Desk:
    """A server on a folder of odd pictures."""

    def __init__(self, server: Server, studies: Path) -> None:
        self.server, self.studies = server, studies

    def browser(self, name: str = "", cookie: bool = True) -> Browser:
        return Browser(self.server, name, cookie)

    def image(self, name: str) -> Path:
        (found,) = self.studies.glob(f"{name}.*")
        return found


@pytest.fixture(scope="module")
def desk(start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Two dozen pictures: wide, turned by EXIF, of 16 bits, inverted, with a palette; and a model."""
    folder = tmp_path_factory.mktemp("desk")
    studies = folder / "studies"
    studies.mkdir()
    for i in range(20):
        Image.fromarray(np.roll(ROWS, 3 * i, axis=1)).save(studies / f"wide {i}.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(ROWS).save(studies / "turned.jpg", exif=exif)
    Image.fromarray(ROWS).convert("RGB").quantize(64).save(studies / "palette.png")
    deep = radiograph("deep", ROWS, "DX")
    deep.PixelData = (ROWS.astype("<u2") * 16 + 7).tobytes()
    deep.SOPInstanceUID = generate_uid()
    deep.save_as(studies / "deep.dcm", write_like_original=False)
    radiograph("inverse", ROWS, "CR", inverse=True).save_as(
        studies / "inverse.dcm", write_like_original=False
    )
    (studies / "folder").mkdir()
    Image.fromarray(ROWS).save(studies / "folder" / "inner.png")
    png(studies / "huge.png")
    publish(folder / "state", "cxr_lungs", {k: TINY[k] for k in ("image_size", "channels", "epochs")})
    (folder / "guide.md").write_text("# Lungs\n<script>alert(1)</script> [bad](javascript:alert(1)) **edge**")
    server = start(
        studies, folder / "state", prepared=True, guideline=folder / "guide.md", recursive=True, max_open=3
    )
    return Desk(server, studies)


@pytest.mark.parametrize("name", ["wide 0", "turned", "palette", "deep", "inverse"])
def test_what_is_drawn_is_stored_voxel_for_voxel(desk: Desk, name: str) -> None:
    def seen(own: np.ndarray) -> np.ndarray:  # orientation 6: the file's first row is the right column
        return own[:, ::-1] if name == "turned" else own.T

    browser, image = desk.browser("ann"), desk.image(name)
    shown = browser.array(name, "voxels")
    np.testing.assert_array_equal(shown, seen(read_image(image)[0]))
    mask = np.roll(drawn(shown.shape), 1 + ord(name[0]) % 16, axis=1)  # no two images have one label
    answer = browser.save(name, mask, seconds=12.34, tools={"Brush": 3}, base_version=0)
    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] == 1 and answer.json()["warnings"] == []
    np.testing.assert_array_equal(browser.array(name, "label"), mask)
    np.testing.assert_array_equal(seen(read_label(stored(desk.studies, name), LUNGS, image)), mask)


def test_a_turned_photograph_is_seen_as_in_a_browser(desk: Desk) -> None:
    browser = desk.browser()
    with Image.open(desk.image("turned")) as picture:
        seen = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(browser.array("turned", "voxels"), seen)
    assert browser.array("turned", "prelabel").shape == seen.shape


def test_voxels_keep_sixteen_bits_and_say_what_they_are(desk: Desk) -> None:
    answer = desk.browser().image("deep", "voxels")
    about = answer.headers
    assert (about["X-Dtype"], about["X-Shape"], about["X-Spacing"]) == ("uint16", "70,110", "0.4,0.3")
    assert np.frombuffer(answer.content, "<u2").max() == ROWS.max() * 16 + 7
    low, high = (float(value) for value in about["X-Window"].split(","))
    assert (
        0 < low < high < 4095
        and np.array(json.loads(about["X-Affine"])).shape == (4, 4)
        and about["X-Version"]
    )
    part = desk.browser().image("deep", "voxels", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == answer.content[10:20]
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(answer.content)}"
    assert desk.browser().image("deep", "voxels", headers={"Range": "bytes=99999-"}).status_code == 416
    assert desk.browser().image("deep", "voxels?slice=0").status_code == 422
    assert desk.browser().array("folder/inner", "voxels").shape == ROWS.shape
    assert desk.browser().image("nothing", "voxels").status_code == 404


def test_a_picture_that_is_too_large_or_gone_is_said_to_be(desk: Desk) -> None:
    ann = desk.browser("ann")
    refused = ann.image("huge", "voxels")
    assert refused.status_code == 422 and "crop or resample it" in refused.json()["detail"]
    desk.image("wide 19").unlink()
    for answer in (ann.image("wide 19", "voxels"), ann.save("wide 19", drawn(ROWS.shape))):
        assert answer.status_code == 404 and "wide 19" in answer.json()["detail"], answer.text


def test_the_server_names_its_pages_when_it_is_ready(desk: Desk) -> None:
    until(lambda: "The server is ready" in desk.server.log.read_text())  # a second after the start
    lines = desk.server.log.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "The server is ready" in line) + 1
    pages = [line.rpartition("/")[2] for line in lines[first : first + 3]]
    assert pages == ["label", "map", "progress"] and desk.server.url in lines[first]


def test_a_prelabel_names_its_model(desk: Desk) -> None:
    answer = desk.browser().image("deep", "prelabel")
    assert answer.status_code == 200 and len(answer.content) == ROWS.size
    assert answer.headers["X-Model"] == "segmentation" and answer.headers["X-Dice"] == ""


def test_the_second_of_two_readers_is_told(desk: Desk) -> None:
    ann, bob = desk.browser("ann"), desk.browser("bob")
    mask = drawn(ROWS.shape)
    assert bob.image("wide 1", "label").status_code == 404
    assert ann.save("wide 1", mask).json()["version"] == 1
    refused = bob.save("wide 1", mask[::-1])
    assert refused.status_code == 409 and "ann saved a label" in refused.json()["detail"]
    assert (refused.json()["who"], refused.json()["version"]) == ("ann", 1) and refused.json()["when"]
    assert bob.save("wide 1", mask[::-1], replace=True).json()["version"] == 2
    again = ann.image("wide 1", "label")
    assert again.headers["X-Version"] == "2" and ann.save("wide 1", mask, base_version=2).status_code == 200


def test_a_mask_that_does_not_fit_is_refused_with_why(desk: Desk) -> None:
    browser, mask = desk.browser("ann"), drawn(ROWS.shape)
    for sent, params, text in (
        (mask[:10], {}, "load it again"),
        (mask, {"shape": [9_000_000, 9_000_000]}, "load it again"),
        (mask[:10], {"shape": mask.shape}, "bytes"),
        (mask * 3, {}, "knows 0 background"),
        (mask.astype(np.uint16) * 300, {}, "at most 255"),
        (mask * 0, {}, "is empty"),
        (mask, {"state": "empty"}, "has voxels"),
        (mask, {"state": "confimed"}, "state"),
        (mask, {"tool": {}}, "tool"),
    ):
        answer = browser.save("wide 2", sent, **params)
        assert answer.status_code == 422 and text in answer.json()["detail"], answer.text
    bomb = {"mask": ("mask", gzip.compress(bytes(10**7)))}
    about = {"params": json.dumps({"shape": mask.shape, "dtype": "uint8", "state": "edited"})}
    assert browser.ask("PUT", "image/wide 2/label", data=about, files=bomb).status_code == 422
    assert browser.save("nothing", mask).status_code == 404
    assert browser.image("wide 2", "label").status_code == 404
    one = mask * 0
    one[69, 109] = 2
    assert browser.save("wide 2", one, packed=False).status_code == 200
    np.testing.assert_array_equal(browser.array("wide 2", "label"), one)
    assert browser.save("wide 2", mask * 0, state="empty", base_version=1).status_code == 200


def test_two_browsers_never_hold_one_image_and_each_gets_its_own_again(desk: Desk) -> None:
    """The browsers have no name, as OHIF's; `user-xyz` without a cookie is nobody (A02, A02b)."""
    one, two = desk.browser(), desk.browser()
    first, other = one.next()["id"], two.next()["id"]
    assert first != other
    assert [one.next(client_id="user-xyz")["id"] for _ in range(3)] == [first] * 3
    nobody = desk.browser(cookie=False)
    given = [nobody.next(client_id="user-xyz")["id"] for _ in range(5)]
    assert len({*given, first, other}) == 7, "nobody is never given what another holds, nor the same again"
    assert (
        one.lease(other).status_code == 409 and "in the hands of browser" in one.lease(other).json()["detail"]
    )
    assert one.lease(first).json()["expires_in"] > 3500
    assert one.lease(first, params={"release": 1}).status_code == 200  # as a closing page sends it
    assert one.lease(first).status_code == 409
    assert one.lease(first, json={"take": True}).status_code == 200
    assert two.lease(first, json={"take": True}).status_code == 409
    assert nobody.ask("DELETE", "leases").status_code == 409, "nobody knows whose"
    assert one.ask("DELETE", "leases").json() == {"released": [first]}
    assert (
        two.next(release_all=True)["id"] == two.next()["id"]
        and two.ask("DELETE", "leases").status_code == 200
    )
    handouts = State(desk.studies.parent / "state").handouts
    for image in given:
        refused = nobody.lease(image, "DELETE", json={"client_id": "user-xyz"})
        assert refused.status_code == 409 and "cannot be told from you" in refused.json()["detail"]
        handouts.release(image, Client("anonymous"))


def test_a_browser_that_gets_a_name_keeps_what_it_holds(desk: Desk) -> None:
    browser = desk.browser()
    image = browser.next()["id"]
    assert browser.draft(image, b"x", {}).status_code == 200
    assert browser.ask("POST", "reader", json={"name": "Zoe"}).json()["drafts"] == [image]
    assert browser.next()["id"] == image and browser.lease(image).status_code == 200
    assert browser.ask("DELETE", f"image/{image}/draft").json()["removed"]
    assert browser.lease(image, "DELETE").status_code == 200


def test_a_draft_is_found_after_a_reload_and_at_another_computer(desk: Desk) -> None:
    here, there, other = desk.browser("cleo"), desk.browser("cleo"), desk.browser("dan")
    image = here.next()["id"]
    assert here.image(image, "draft").status_code == 404
    assert here.draft(image, b"old", {}).status_code == 200
    kept = here.draft(image, gzip.compress(b"mask"), {"seconds": 3.5, "structures": {"Lunge µ": "done"}})
    assert kept.json()["expires_in"] > 3500, "drawing renews the lease"
    assert there.ask("GET", "reader").json()["drafts"] == [image]
    found = there.image(image, "draft")
    assert (
        gzip.decompress(found.content) == b"mask" and json.loads(found.headers["X-Draft"])["seconds"] == 3.5
    )
    assert other.image(image, "draft").status_code == 404
    assert "hands of cleo" in other.draft(image, b"x", {}).json()["detail"]
    assert other.ask("DELETE", f"image/{image}/draft").json() == {"removed": True}
    assert desk.browser(cookie=False).draft(image, b"x", {}).status_code == 409
    assert here.draft(image, b"x" * (65 * 2**20 + 1), {}).status_code == 413
    assert here.draft(image, b"x", {"long": "x" * 20_000}).status_code in (422, 431)
    shape = here.array(image, "voxels").shape
    assert here.save(image, np.roll(drawn(shape), 21, axis=1), seconds=8).status_code == 200
    assert there.image(image, "draft").status_code == 404, "the final label takes its place"


def test_the_page_is_told_who_draws_and_what(desk: Desk) -> None:
    nobody, unnamed, ann = desk.browser(cookie=False), desk.browser(), desk.browser("Ann Ä.")
    said = ann.ask("GET", "reader").json()
    assert (said["kind"], said["name"], said["authenticated"], said["allowed"]) == (
        "named",
        "Ann Ä.",
        False,
        True,
    )
    assert [(s["name"], s["value"]) for s in said["structures"]] == list(LUNGS.items())
    assert all(len(s["colour"]) == 7 for s in said["structures"])
    assert "<strong>edge</strong>" in said["guideline"] and "&lt;script&gt;" in said["guideline"]
    assert "<script" not in said["guideline"] and "href" not in said["guideline"]
    assert nobody.ask("GET", "reader").json()["kind"] == "nobody"
    other = unnamed.ask("GET", "reader").json()
    assert other["kind"] == "browser" and other["name"].startswith("browser ")
    for name in ("user-xyz", " None ", "", "Browser 3f2a", "x" * 101):
        assert unnamed.ask("POST", "reader", json={"name": name}).status_code == 422


def test_a_cookie_is_no_key_for_other_sites(desk: Desk) -> None:
    browser = desk.browser("ann")
    (cookie,) = [c for c in browser.web.cookies if c.name == "scan_selection_reader"]
    assert cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite") == "lax"
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = browser.ask("POST", "reader", json={"name": "eve"}, headers=headers)
        assert answer.status_code == 403
        assert browser.ask("PUT", "image/deep/draft", data=b"x", headers=headers).status_code == 403
    assert browser.ask("GET", "reader").json()["name"] == "ann"


def test_a_prediction_saved_unchanged_waits_for_a_person(desk: Desk) -> None:
    """It is kept, it is not offered again, and it counts once somebody confirms it (F03)."""
    ann = desk.browser("ann")
    status = lambda: ann.ask("GET", "status").json()  # noqa: E731
    before, image = status(), "wide 10"
    mask = ann.array(image, "prelabel")
    saved = ann.save(image, mask)
    assert saved.json()["state"] == "unedited" and "confirmed" in saved.json()["warnings"][0]
    after = status()
    assert (after["labelled"], after["unedited_labels"]) == (before["labelled"], 1)
    assert after["labels"]["usable"] == before["labels"]["usable"], "it is not trained on"
    assert after["unlabelled"] == before["unlabelled"] - 1 and image in str(after["warnings"])
    history = ann.ask("GET", "images/history", params={"image": image}).json()
    assert history["unedited"] and not history["labelled"]
    assert history["events"][-1]["details"]["state"] == "unedited"
    assert ann.image(image, "label").headers["X-Version"] == "1", "it can be opened again"
    assert ann.ask("POST", f"image/{image}/confirm").json() == {"label": image, "state": "confirmed"}
    assert (status()["labelled"], status()["unedited_labels"]) == (before["labelled"] + 1, 0)
    assert ann.ask("POST", f"image/{image}/confirm").status_code == 409
    assert ann.ask("POST", "image/nothing/confirm").status_code == 404


def test_accepting_a_prediction_counts_at_once(desk: Desk) -> None:
    ann, image = desk.browser("ann"), "wide 11"
    mask = ann.array(image, "prelabel")
    saved = ann.save(image, mask, state="confirmed", seconds=4.5, tools={"Brush": 0}, model="segmentation")
    assert saved.ok, saved.text
    assert saved.json()["state"] == "confirmed" and saved.json()["warnings"] == []
    (label,) = [
        entry
        for entry in ann.ask("GET", "images/history", params={"image": image}).json()["events"]
        if entry["event"] == "label"
    ]
    told = {name: label["details"][name] for name in ("state", "seconds", "tools", "model")}
    assert told == {"state": "confirmed", "seconds": 4.5, "tools": {"Brush": 0}, "model": "segmentation"}
    assert label["who"] == "ann"


def test_a_prediction_of_any_client_is_recognised_and_a_command_confirms_it(desk: Desk) -> None:
    """OHIF's way: Run, then Submit label; the label comes back in another format."""
    url, image = desk.server.url, "wide 12"
    form = {"params": json.dumps({"result_extension": ".nii.gz"})}
    predicted = requests.post(f"{url}/infer/segmentation?image={image}&output=image", data=form, timeout=120)
    assert predicted.status_code == 200 and "digest" not in str(predicted.headers)

    def submit(**params: object) -> dict[str, Any]:
        answer = requests.put(
            f"{url}/datastore/label?image={image}",
            data={"params": json.dumps(params)},
            files={"label": ("label.nii.gz", predicted.content)},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    assert "confirmed" in submit()["warnings"][0]
    ann, line = desk.browser("ann"), ["confirm", image, "--app", str(ROOT / "apps" / "cxr_lungs")]
    assert ann.ask("GET", "status").json()["unedited_labels"] == 1
    conf = {**TINY, "state": desk.studies.parent / "state", "recursive": True}
    done = CliRunner().invoke(
        app, [*line, "--studies", str(desk.studies), *(f"--conf={k}={v}" for k, v in conf.items())]
    )
    assert done.exit_code == 0, done.output
    assert (
        ann.save("wide 13", np.roll(drawn(ROWS.shape), 22, axis=1)).status_code == 200
    )  # the server looks at its pool
    until(lambda: ann.ask("GET", "status").json()["unedited_labels"] == 0)
    assert submit()["warnings"] and "warnings" not in submit(confirmed=True)
