"""Clients as they behave: several people, doubtful labels, and a way back to a finished case."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
import requests
import sqlalchemy as sa
import torch
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException
from PIL import Image
from typer.testing import CliRunner

from benchmarks.server_process import ROOT, Server
from infers.fingerprints import model_fingerprint
from pool.database import schema
from pool.database.connect import connect
from pool.database.handouts import Client
from pool.database.state import State
from server.cli.main import app
from tests.server.conftest import TINY
from tests.server.desk.conftest import Browser
from tests.server.end_to_end.test_right_place import only_left
from tests.server.polling import until
from tests.server.published import publish

SIZE, LARGE = (128, 128), 2_100  # of p3, which has the pixels of a radiograph


class Pool:
    """A server on ten radiographs, and a model that predicts the left lung (value 2) everywhere."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.url, self.folder, self.studies = server, server.url, folder, folder / "studies"

    def browser(self, name: str = "", cookie: bool = True) -> Browser:
        return Browser(self.server, name, cookie)

    def slicer(self, name: str = "user-xyz") -> MONAILabelClient:
        return MONAILabelClient(self.url, tmpdir=str(self.folder), client_id=name)

    def save(self, image: str, mask: np.ndarray, tag: str = "final", **params: Any) -> requests.Response:
        file = self.folder / "label.png"
        Image.fromarray(mask.astype(np.uint8)).save(file)
        return self.send(image, file, tag, **params)

    def send(self, image: str, file: Path, tag: str = "final", **params: Any) -> requests.Response:
        return requests.put(
            f"{self.url}/datastore/label?image={image}&tag={tag}",
            data={"params": json.dumps(params)},
            files={"label": (file.name, file.read_bytes())},
            timeout=120,
        )

    def get(self, path: str, **params: Any) -> Any:
        answer = requests.get(f"{self.url}/{path}", params=params, timeout=120)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def mark(self, kind: str, *images: str) -> requests.Response:
        body = {"kind": kind, "images": images, "client": "Dr. Lead", "reason": "apex"}
        return requests.post(f"{self.url}/selection/marks", json=body, timeout=60)

    def ask(self, **verbs: Any) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/activelearning/auto", json=verbs, timeout=60)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture(scope="module")
def pool(phantoms: Path, start: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("clients")
    (folder / "studies").mkdir()
    for number, path in enumerate(sorted((phantoms / "studies").iterdir())[:10]):
        shutil.copy(path, folder / "studies" / f"p{number}.png")
    large = Image.open(folder / "studies" / "p3.png").resize((LARGE, LARGE))
    large.save(folder / "studies" / "p3.png")
    publish(folder / "state", "cxr_lungs", {k: TINY[k] for k in ("image_size", "channels", "epochs")})
    only_left(folder / "state" / "model.pt")
    conf = {"instant": False, "prelabels": 0, "cold_start_budget": 9}
    return Pool(start(folder / "studies", folder / "state", prepared=True, **conf), folder)


def box(top: int, value: int = 1) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[top : top + 40, 20:60] = value
    return mask


def test_a_batch_inference_needs_neither_a_label_nor_a_gpu(pool: Pool) -> None:
    """N01, N02: the first thing that a team does with a model from elsewhere."""
    asked = f"{pool.url}/batch/infer/segmentation?images=all"
    started = requests.post(asked, json={"label_tag": "original"}, timeout=60)
    assert started.status_code == 200, started.text
    assert started.json()["request"]["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    task = until(lambda: (said := pool.get("batch/infer"))["status"] in ("DONE", "ERROR") and said)
    assert task["status"] == "DONE", task
    objects = pool.slicer().datastore()["objects"]
    assert len(objects) == 10
    for image, found in objects.items():
        assert found["labels"].keys() == {"original"}
        assert found["labels"]["original"]["info"]["params"]["label_names"] == {"left lung": 2}
        predicted = np.asarray(Image.open(pool.studies / "labels" / "original" / f"{image}.png"))
        np.testing.assert_array_equal(predicted, np.full((LARGE, LARGE) if image == "p3" else SIZE, 2))
    status = pool.get("selection/status")
    assert (status["labelled"], status["unlabelled"]) == (0, 10), "predictions are no labels"
    as_final = requests.post(asked, json={"label_tag": "final"}, timeout=60)
    assert as_final.status_code == 422, "nor do they become any by their tag (F03)"


def test_two_slicers_and_two_browsers_behind_one_address_never_share_an_image(pool: Pool) -> None:
    """A02, A02b; with `max_open` 5, nobody is capped."""
    one, two = pool.browser(), pool.browser()
    slicers = pool.slicer(), pool.slicer()
    held = [one.next()["id"], two.next(client_id="user-xyz")["id"]]
    with ThreadPoolExecutor(2) as both:
        given = list(both.map(lambda turn: slicers[turn % 2].next_sample("auto", {})["id"], range(6)))
    assert len({*held, *given}) == 8, "six images for clients that cannot be told apart"
    assert [one.next()["id"], two.next()["id"]] == held, "a browser gets its own again"
    ohif = requests.Session()
    assert ohif.get(f"{pool.url}/ohif/", timeout=60).cookies, "OHIF's browser is known, too"
    again = [
        ohif.post(f"{pool.url}/activelearning/auto", json={}, timeout=60).json()["id"] for _ in range(10)
    ]
    assert len(set(again)) == 1 and again[0] not in {*held, *given}
    assert ohif.delete(f"{pool.url}/selection/leases", timeout=60).json() == {"released": again[:1]}
    assert one.ask("DELETE", "leases").json() == {"released": held[:1]}
    assert two.next(release_all=True)["id"] in set(held)
    assert pool.browser(cookie=False).ask("DELETE", "leases").status_code == 409
    two.ask("DELETE", "leases")
    nobody, first = pool.browser(cookie=False), given[0]
    for refused in (
        nobody.lease(first, "DELETE"),
        nobody.lease(first, "DELETE", json={"client_id": "user-xyz"}),
        nobody.lease(first, params={"release": 1}),
        nobody.lease(first, json={"take": True}),
        two.lease(first, "DELETE"),
    ):
        assert refused.status_code == 409 and "in the hands of" in refused.json()["detail"]
    with pytest.raises(MONAILabelClientException, match="who cannot be told from you: send a client_id"):
        slicers[1].next_sample("auto", {"release": first})
    leases = pool.get("selection/handouts")["open"]
    assert sorted(lease["image"] for lease in leases) == sorted(given), "each is still in somebody's hands"
    handouts = State(pool.folder / "state").handouts
    for lease in leases:
        handouts.release(lease["image"], Client(lease["client"]))
    assert not pool.get("selection/handouts")["open"]


def test_work_renews_a_lease_and_the_second_saver_is_told(pool: Pool) -> None:
    """A17: reading the image, a prediction and other labels count as work."""
    ann = pool.slicer("ann")
    pool.mark("next", "p6")
    image = ann.next_sample("auto", {})["id"]
    engine = connect(pool.folder / "state" / "pool.db", "")

    def left() -> float:
        return float(pool.get("selection/handouts")["open"][0]["expires_in"])

    def nearly_over() -> None:
        lease = sa.update(schema.handouts).where(schema.handouts.c.ended.is_(None))
        with engine.begin() as connection:
            connection.execute(lease.values(expires=schema.handouts.c.expires - left() + 300))
        assert left() < 301

    nearly_over()
    requests.get(f"{pool.url}/datastore/image?image={image}", timeout=60)
    assert left() < 301, "somebody else's look is not ann's work"
    ann.infer("segmentation", image, {})
    assert left() > 3500
    nearly_over()
    assert pool.save(image, box(5), tag="finale", client_id="ann").json()["warnings"] == [
        "labels with the tag 'finale' are kept but never count: only those with the tag 'final' do; "
        "did you mean 'final'?"
    ]
    assert left() > 3500
    assert pool.get("selection/status")["labelled"] == 0
    assert "warnings" not in pool.save(image, box(2, 2), client_id="ann").json()
    (told,) = pool.save(image, box(3, 2), client_id="user-xyz").json()["warnings"]
    assert told.startswith("this replaces the label that ann saved at") and "version 1" in told
    (told,) = pool.save(image, box(4, 2), client_id="user-xyz").json()["warnings"]
    assert "somebody without a name" in told
    assert "warnings" in pool.get("selection/images/history", image=image)


def test_an_empty_label_has_a_way_out_that_every_client_can_go(pool: Pool, tmp_path: Path) -> None:
    """A04: Slicer cannot send `empty`, so the second one within ten minutes counts."""
    params = {"label_info": [], "model": "segmentation", "client_id": "user-xyz"}
    nibabel.save(nibabel.Nifti1Image(np.zeros(SIZE, np.uint8), np.eye(4)), tmp_path / "label.nii.gz")
    header = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": np.zeros(3)}
    nrrd.write(str(tmp_path / "label.seg.nrrd"), np.zeros((1, 1, 1), np.uint8), header)
    refused = pool.send("p9", tmp_path / "label.nii.gz", **params)
    assert refused.status_code == 422 and "again within ten minutes" in refused.json()["detail"]
    assert "empty_labels accept" in refused.json()["detail"]
    accepted = pool.send("p9", tmp_path / "label.seg.nrrd", **params)  # cropped to nothing: one voxel
    assert accepted.status_code == 200, accepted.text
    assert pool.get("datastore/label/info", label="p9", tag="final")["state"] == "empty"


def test_a_label_of_another_image_waits_until_it_is_confirmed(pool: Pool) -> None:
    mask, before = box(10, 2), pool.get("selection/status")["labelled"]
    assert "warnings" not in pool.save("p0", mask, client_id="ann").json()
    (told,) = pool.save("p1", mask, client_id="ann").json()["warnings"]
    assert told.startswith("this label equals that of image p0 and does not count")
    status = pool.get("selection/status")
    assert (status["labelled"], status["unedited_labels"]) == (before + 1, 1)
    history = pool.get("selection/images/history", image="p1")
    assert history["warnings"] == [told] and history["events"][-1]["details"]["state"] == "copied"
    assert pool.browser("ann").ask("POST", "image/p1/confirm").status_code == 200
    assert pool.get("selection/status")["labelled"] == before + 2
    assert pool.save("p1", mask, client_id="ann", confirmed=True).status_code == 200


def test_a_label_far_from_a_good_models_prediction_is_doubted(pool: Pool) -> None:
    """F06: the label of another image, or of the wrong side."""
    assert "warnings" not in pool.save("p2", box(12), client_id="ann").json(), "the model was never measured"
    state, model = State(pool.folder / "state"), model_fingerprint(pool.folder / "state" / "model.pt")
    scores = {"dice": [0.9, 0.9], "hd95": [1.0, 1.0], "one_empty": [0, 0], "present": [1, 1]}
    state.validations.add(model, "p8", scores)
    far = np.zeros((LARGE, LARGE), np.uint8)
    far[200:800, 300:900] = 1
    (told,) = pool.save("p3", far, client_id="ann").json()["warnings"]
    assert "hardly overlaps with the prediction of model 'segmentation' (Dice 0.00" in told
    history = pool.get("selection/images/history", image="p3")
    assert history["labelled"] and history["warnings"] == history["events"][-1]["details"]["warnings"] == [
        told
    ]
    close = np.full(SIZE, 2, np.uint8)
    close[:10] = 0
    assert "warnings" not in pool.save("p4", close, client_id="ann").json()


def test_a_prediction_put_into_the_folder_waits_too(pool: Pool) -> None:
    pool.slicer().infer("segmentation", "p5", {})
    before = pool.get("selection/status")
    target = pool.studies / "labels" / "final" / "p5.png"
    Image.fromarray(np.full(SIZE, 2, np.uint8)).save(target)
    until(lambda: pool.get("selection/images/history", image="p5")["unedited"])
    assert pool.get("selection/status")["labelled"] == before["labelled"]
    warned = [e for e in pool.get("selection/ledger") if (e["event"], e["image"]) == ("label_warnings", "p5")]
    assert "equals a prediction" in warned[0]["details"]["warnings"][0]


def test_a_finished_case_is_opened_again_with_its_label(pool: Pool) -> None:
    """A22: handed out once more, its label under the tag that 3D Slicer loads by itself."""
    refused = pool.mark("next", "p0")
    assert refused.status_code == 409 and "scan-selection reopen" in refused.json()["detail"]
    assert pool.mark("reopen", "p7").status_code == 409, "it has no label"
    conf = {**TINY, "state": pool.folder / "state", "instant": False, "prelabels": 0, "cold_start_budget": 9}
    line = ["reopen", "p0", "--app", str(ROOT / "apps" / "cxr_lungs"), "--studies", str(pool.studies)]
    done = CliRunner().invoke(app, [*line, *(f"--conf={k}={v}" for k, v in conf.items())])
    assert done.exit_code == 0, done.output
    labelled = pool.get("selection/status")["labelled"]
    slicer = pool.slicer("bob")
    given = slicer.next_sample("auto", {})
    assert given["id"] == "p0" and given["selection"]["role"] == "reopened"
    assert given["selection"]["reason"].startswith("lead reopened it: its label is under the tag 'original'")
    info = slicer.datastore()["objects"]["p0"]["labels"]["original"]["info"]
    assert info["params"]["label_names"] == {"left lung": 2}
    offered = np.asarray(Image.open(slicer.download_label("p0", "original")))
    np.testing.assert_array_equal(offered, box(10, 2))
    assert pool.ask(client_id="cleo")["id"] != "p0", "it is bob's"
    assert pool.ask(client_id="bob", resume=True)["id"] == "p0"
    assert pool.get("selection/status")["labelled"] == labelled, "its label counts meanwhile"
    assert pool.save("p0", box(11, 2), client_id="bob").status_code == 200
    assert pool.ask(client_id="bob")["id"] != "p0", "once"
    assert pool.mark("reopen", "p0").json() == {"changed": 1}
    assert pool.mark("none", "p0").json() == {"changed": 1}
    assert pool.ask(client_id="cleo", release_all=True)["id"] != "p0"


def test_a_checksum_follows_the_file_that_is_sent(pool: Pool) -> None:
    """A03: another pool's image of the same name, or a changed one, is not taken from a client's cache."""

    def checksum() -> str:
        content = requests.get(f"{pool.url}/datastore/image?image=p7", timeout=60).content
        said = pool.get("datastore/image/info", image="p7")["checksum"]
        assert said == f"SHA256:{hashlib.sha256(content).hexdigest()}"
        return str(said)

    before = checksum()
    picture = np.asarray(Image.open(pool.studies / "p7.png"))
    Image.fromarray(np.flipud(picture)).save(pool.studies / "p7.png")
    assert checksum() != before
    for lease in pool.get("selection/handouts")["open"]:
        State(pool.folder / "state").handouts.release(lease["image"], Client(lease["client"]))
    pool.mark("next", "p7")
    assert pool.ask(client_id="dan")["checksum"] == checksum()
