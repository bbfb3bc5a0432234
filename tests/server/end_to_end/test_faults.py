"""Faults around a server: full disks, a read-only folder, a second server, clients that never return, a large
pool. Nothing is lost, and each answer says what to do."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.load.large_pool import make_state, make_studies
from benchmarks.server_process import Server
from pool.database.state import State
from strategies.settings import Settings
from tests.server.desk.conftest import Browser

Start = Callable[..., Server]
Mount = Callable[..., None]


class Pool:
    """A server's pool over HTTP; the true labels are in `labels`."""

    def __init__(self, server: Server, labels: Path) -> None:
        self.server, self.labels = server, labels

    def ask(self, client: str, **verbs: Any) -> requests.Response:
        body = {"client_id": client, **verbs}
        return requests.post(f"{self.server.url}/activelearning/auto", json=body, timeout=60)

    def given(self, client: str, **verbs: Any) -> str:
        """Return the image that a client is given."""
        answer = self.ask(client, **verbs)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def save(self, image: str, client: str, label: Path | None = None) -> requests.Response:
        with open(label or self.labels / f"{image}.png", "rb") as file:
            return requests.put(
                f"{self.server.url}/datastore/label?image={image}",
                data={"params": json.dumps({"client_id": client})},
                files={"label": (f"{image}.png", file)},
                timeout=60,
            )

    def get(self, path: str) -> Any:
        answer = requests.get(self.server.url + path, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def status(self) -> dict[str, Any]:
        return dict(self.get("/selection/status"))

    def labels_of(self, image: str) -> dict[str, Any]:
        return dict(self.get("/datastore/?output=all")["objects"][image]["labels"])

    def holder(self, image: str) -> str | None:
        held = self.get("/selection/handouts")["open"]
        return next((lease["client"] for lease in held if lease["image"] == image), None)

    def happened(self) -> list[str]:
        return [entry["event"] for entry in self.get("/selection/ledger")]

    def events(self, image: str) -> list[tuple[str, dict[str, Any]]]:
        ledger = self.get("/selection/ledger")
        return [(entry["event"], entry["details"]) for entry in ledger if entry["image"] == image]


def _until(true: Callable[[], Any], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.3)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the file system of `folder` for the block."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError) as caught:
        while True:
            file.write(b"0" * 4096)
    assert caught.value.errno == errno.ENOSPC
    try:
        yield
    finally:
        ballast.unlink()


# small disks ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(phantoms: Path, start: Start, mounted: Mount, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """A server with studies and state on small file systems of their own."""
    folder = tmp_path_factory.mktemp("small")
    for name, size in (("studies", "2m"), ("state", "16m")):
        (folder / name).mkdir()
        mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder / name))
    shutil.copytree(phantoms / "studies", folder / "studies", dirs_exist_ok=True)
    pool = Pool(start(folder / "studies", folder / "state", prepared=True), phantoms / "labels")
    _until(lambda: pool.status()["stage"] == "cold_start")
    return pool


def _folder(pool: Pool, name: str) -> Path:
    command = pool.server.process.args
    assert isinstance(command, list)
    key = {"studies": "--studies", "state": "state"}[name]
    return Path(str(command[command.index(key) + 1]))


def test_a_label_waits_for_room_in_the_studies_folder(small: Pool) -> None:
    image = small.given("full disk")
    with full(_folder(small, "studies")):
        refused = small.save(image, "full disk")
        assert refused.status_code == 507 and "make room" in refused.json()["detail"]
        assert image in refused.json()["detail"]
        assert small.labels_of(image) == {} and small.holder(image) == "full disk"
        assert small.given("full disk", resume=True) == image
    assert small.save(image, "full disk").status_code == 200
    assert "final" in small.labels_of(image) and small.holder(image) is None
    assert not list(_folder(small, "studies").rglob("*.tmp"))


def test_a_full_state_folder_loses_no_label_and_goes_on_when_there_is_room(small: Pool) -> None:
    image, labelled = small.given("full state"), small.status()["labelled"]
    with full(_folder(small, "state")):
        last = image
        for _ in range(3000):  # the database's journal has some room left in its own file
            answer = small.ask("full state", release=last)
            if answer.status_code != 200:
                break
            last = answer.json()["id"]
        assert answer.status_code == 503 and "Make room, then ask again" in answer.json()["detail"]
        assert str(_folder(small, "state")) in answer.json()["detail"]
        assert small.save(last, "full state").status_code == 200
        assert small.status()["labelled"] == labelled + 1
    held = small.get("/selection/handouts")["open"]
    assert small.given("another") not in {last, *(lease["image"] for lease in held)}
    assert small.save(small.given("full state", resume=True), "full state").status_code == 200
    assert small.status()["labelled"] == labelled + 2
    _until(lambda: "label" in [event for event, _ in small.events(last)])  # the ledger catches up


def test_the_desk_keeps_a_drawing_until_there_is_room(small: Pool) -> None:
    """The page gets 507 and why, and sends the same mask again later."""
    ann = Browser(small.server, "Ann Desk")
    image = ann.next()["id"]
    mask = ann.array(image, "voxels") // 128 + 1
    with full(_folder(small, "studies")):
        refused = ann.save(image, mask)
        assert refused.status_code == 507 and "make room" in refused.json()["detail"], refused.text
        assert ann.image(image, "label").status_code == 404
    with full(_folder(small, "state")):
        refused = ann.draft(image, b"x" * 2**16, {})
        assert refused.status_code == 507 and "make room" in refused.json()["detail"], refused.text
    assert ann.draft(image, b"x" * 2**16, {}).status_code == 200
    assert ann.save(image, mask).json()["version"] == 1
    assert ann.image(image, "draft").status_code == 404


def test_a_second_label_keeps_the_first_and_who_made_it(small: Pool) -> None:
    image = small.given("ann")
    first = small.labels / f"{image}.png"
    other = next(path for path in sorted(small.labels.iterdir()) if path.read_bytes() != first.read_bytes())
    assert small.save(image, "ann").status_code == 200
    assert small.save(image, "bob", other).status_code == 200
    labels = _folder(small, "studies") / "labels" / "final"
    assert (labels / f"{image}.png").read_bytes() == other.read_bytes()
    versions = _folder(small, "studies") / "versions" / "final"
    assert (versions / f"{image}.1.png").read_bytes() == first.read_bytes()
    note = json.loads((versions / f"{image}.1.json").read_text())
    assert (note["info"]["client_id"], note["ended"]) == ("ann", "replaced")
    assert small.labels_of(image)["final"]["info"]["client_id"] == "bob"
    assert [said["client"] for event, said in small.events(image) if event == "label"] == ["ann", "bob"]


def test_a_second_server_is_refused_by_name(small: Pool, start: Start, tmp_path: Path) -> None:
    studies, state = _folder(small, "studies"), _folder(small, "state")
    (tmp_path / "other studies").mkdir()
    same_state = start(tmp_path / "other studies", state, wait=False)
    same_studies = start(studies, tmp_path / "other state", wait=False)
    for server, folder in ((same_state, state), (same_studies, studies)):
        assert server.process.wait(180) != 0
        said = [line for line in server.log.read_text().splitlines() if "another server works on" in line]
        assert said and str(folder) in said[-1] and "stop it, or" in said[-1]
    image = small.given("the first server goes on")
    assert small.save(image, "the first server goes on").status_code == 200
    assert "final" in small.labels_of(image)


# a folder that nobody may write ------------------------------------------------------------------------


def test_a_read_only_studies_folder_hands_out_nothing_and_says_so(
    phantoms: Path, start: Start, mounted: Mount, tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    shutil.copytree(phantoms / "studies", studies)
    mounted("--bind", str(studies), str(studies))
    mounted("-o", "remount,ro,bind", str(studies))
    pool = Pool(start(studies, tmp_path / "state", prepared=True), phantoms / "labels")
    _until(lambda: pool.status()["stage"] == "cold_start")
    url = f"{pool.server.url}/activelearning/auto"
    refused = requests.post(url, json={"client_id": "ann"}, timeout=60)
    assert refused.status_code == 507 and "labels could not be saved" in refused.json()["detail"]
    assert pool.status()["handed_out"] == 0
    assert "Nothing is handed out" in pool.status()["warnings"][0]
    step = pool.status()["next_step"]  # what the pages show
    assert "Labels cannot be saved" in step["text"] and step["action"] == ""
    image = next(path.stem for path in studies.glob("*.png"))
    refused = pool.save(image, "ann")
    assert refused.status_code == 507 and str(studies) in refused.json()["detail"]
    assert "make it writable" in refused.json()["detail"] and pool.labels_of(image) == {}
    said = [line for line in pool.server.log.read_text().splitlines() if "Nothing is handed out" in line]
    assert len(said) == 1 and str(studies) in said[0] and "make the folder writable" in said[0]


# leases that run out, trainings that start by themselves ------------------------------------------------


@pytest.fixture(scope="module")
def quick(phantoms: Path, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """A server with leases of three seconds and a training after three labels."""
    folder = tmp_path_factory.mktemp("quick")
    shutil.copytree(phantoms / "studies", folder / "studies")
    conf = {"lease_minutes": 0.05, "auto_train": "true", "cold_start_budget": 3, "prepared": True}
    pool = Pool(start(folder / "studies", folder / "state", **conf), phantoms / "labels")
    _until(lambda: pool.status()["stage"] == "cold_start")
    return pool


def test_an_image_whose_lease_ran_out_is_given_to_the_next(quick: Pool) -> None:
    image = quick.given("ann")
    _until(lambda: quick.holder(image) is None)
    assert quick.given("bob") == image
    ended = [said for event, said in quick.events(image) if event == "handout_ended"]
    assert [(said["outcome"], said["client"]) for said in ended] == [("expired", "ann")]
    before = quick.status()["labelled"]
    assert quick.save(image, "ann").status_code == 200, "late, and no less welcome"
    assert quick.status()["labelled"] == before + 1 and quick.holder(image) is None


def test_training_starts_by_itself(quick: Pool) -> None:
    while quick.status()["labelled"] < 3:
        assert quick.save(quick.given("ann", resume=True), "ann").status_code == 200
    _until(lambda: quick.status()["stage"] == "active" and "training_ended" in quick.happened())
    status = quick.status()
    assert (status["round"], status["labelled"]) == (1, 3)
    events = quick.happened()
    assert [events.count(event) for event in ("training", "training_ended", "model")] == [1, 1, 1]
    assert quick.ask("ann").json()["selection"]["stage"] == "active"
    assert "/train/" not in quick.server.log.read_text(), "nobody asked for it"


# a large pool -----------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_a_large_pool(start: Start, tmp_path: Path, long: bool) -> None:
    """Serve 100,000 images; 10,000 in the short form."""
    settings, size = Settings(cold_start_budget=1000), 100_000 if long else 10_000
    conf = {"preset": "paper", "cold_start_budget": 1000, "duplicates": "off"}  # few pictures, many names
    paths = make_studies(tmp_path / "studies", size)
    make_state(tmp_path / "state", paths, settings)
    labels = sorted((tmp_path / "originals" / "labels").iterdir())
    plan = next(e for e in State(tmp_path / "state").ledger.entries() if e["event"] == "plan")
    first = [pick["image"] for pick in plan["details"]["picks"][:4]]

    pool = Pool(start(tmp_path / "studies", tmp_path / "state", **conf), labels[0].parent)
    shutil.copy(paths[0], tmp_path / "studies" / "new.png")
    assert [pool.given(client) for client in ("ann", "bob", "cyd")] == first[:3]
    true = labels[int(first[0].removeprefix("img_")) % len(labels)]
    assert pool.save(first[0], "ann", true).status_code == 200 and pool.status()["labelled"] == 1
    assert pool.given("bob", skip=first[1], reason="blurred") == first[3]
    _until(lambda: pool.status()["images"] == size + 1)
    pool.server.stop()

    pool = Pool(start(tmp_path / "studies", tmp_path / "state", **conf), labels[0].parent)
    status = pool.status()
    assert (status["images"], status["labelled"], status["skipped"]) == (size + 1, 1, 1)
    assert status["stage"] == "cold_start" and pool.get("/selection/handouts")["skipped"] == {
        first[1]: "blurred"
    }
    assert [pool.holder(image) for image in first] == [None, None, "cyd", "bob"]
    assert [pool.given(client, resume=True) for client in ("cyd", "bob")] == first[2:]
    assert pool.labels_of(first[0])["final"]["info"]["client_id"] == "ann"
