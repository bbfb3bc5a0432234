"""`python -m server.pool`: a real pool is backed up, restored elsewhere and moved; damage is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from filelock import FileLock
from PIL import Image
from typer.testing import CliRunner

from pool.database.database import Database
from pool.database.handouts import Client, Handout, LeasePolicy
from pool.database.plans import Plan
from pool.database.state import State
from pool.datastore import PoolDatastore
from pool.imaging.images import image_fingerprint
from server.cli.pool import app
from server.places import state_name
from tests.postgres import PASSWORD, Cluster
from tests.server.published import publish

IMAGES = [f"i{n}" for n in range(8)]
PICTURES = [f"{image}.png" for image in IMAGES]
ANN, BOB = Client("ann"), Client("bob")


class MadePool:
    """A studies folder of eight images with three labels, and a state with rows in every table."""

    def __init__(self, folder: Path, url: str) -> None:
        self.studies, self.folder, self.url = folder / "xrays", folder / "state", url
        self.studies.mkdir(parents=True)
        for n, image in enumerate(IMAGES):
            pixels = np.arange(32 * 32, dtype=np.uint32).reshape(32, 32) * (n + 1) % 251
            Image.fromarray(pixels.astype(np.uint8)).save(self.studies / f"{image}.png")
        self.state = State(self.folder, migrate=True, url=url)
        self._compute()
        self._work()

    def _compute(self) -> None:
        state, random = self.state, np.random.default_rng(3)
        marks = {image: image_fingerprint(self.studies / f"{image}.png") for image in IMAGES}
        state.embeddings.add("e", [(i, mark, random.normal(size=16)) for i, mark in marks.items()])
        state.maps.add("k", marks, random.normal(size=(len(IMAGES), 2)))
        picks = [{"image": image, "score": 1 / (n + 3)} for n, image in enumerate(IMAGES)]
        state.plans.add(Plan(0, "plan", "cold_start", 1, None, 0, picks, {"seed": 42}))
        state.models.add("m", IMAGES[:2], {"dice": 1 / 3, "name": "Müller"})
        state.scores.add_entropies("m", {image: 0.1 + 0.2 * n for n, image in enumerate(IMAGES)})
        state.trainings.start({"model": "segmentation"}, 2)
        publish(self.folder, "cxr_lungs", {"image_size": 32, "channels": "[4,8]"})

    def _work(self) -> None:
        self.store = PoolDatastore(str(self.studies), {"lung": 1})  # open, as a server's
        mask = self.folder / ".mask.png"
        Image.fromarray(np.eye(32, dtype=np.uint8)).save(mask)
        for image, who in (("i0", "bob"), ("i0", "ann"), ("i1", "ann"), ("i2", "ann")):
            self.store.save_label(image, str(mask), "final", {"client_id": who})
            self.state.handouts.labelled(image, who, {})
        mask.unlink()
        for client in (ANN, BOB):
            give(self.state, client)
        self.state.handouts.skip("i7", BOB, "blurred")
        self.state.drafts.save("ann", "i4", b"half a lung", {"seconds": 12})

    def options(self) -> list[str]:
        return ["--studies", str(self.studies), "--state", str(self.folder), "--database", self.url]


def give(state: State, client: Client) -> Handout:
    given = state.handouts.give(
        client, "plan", IMAGES[3:], lambda i: True, lambda i: {"said": i}, LeasePolicy()
    )
    assert given is not None
    return given


def facts(state: State) -> dict[str, Any]:
    """Return everything stored of a pool."""
    layout = state.maps.newest("k")
    assert layout is not None
    return {
        "ledger": state.ledger.entries(),
        "leases": state.handouts.open(),
        "skipped": state.handouts.skipped(),
        "embedded": state.embeddings.fingerprints("e"),
        "vectors": state.embeddings.vectors("e", IMAGES).tolist(),
        "layout": (layout.images, layout.fingerprints, layout.points.tolist()),
        "plan": state.plans.newest("plan"),
        "models": state.models.all(),
        "entropies": state.scores.entropies("m"),
        "training": (state.trainings.newest_open(), state.trainings.labels_of_last()),
        "draft": state.drafts.get("ann", "i4"),
    }


def files(folder: Path) -> dict[str, bytes]:
    """Return all files but locks and the database, with their content."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock" and p.name != ".lock")
    named = ((str(path.relative_to(folder)), path) for path in found)
    return {name: path.read_bytes() for name, path in named if not name.startswith("pool.db")}


def run(*arguments: object) -> str:
    """Run a command and return its output. Fails when the command does."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 1 and not isinstance(done.exception, Exception), done.output
    return re.sub(r"\s+", " ", done.output)


@pytest.fixture
def made(tmp_path: Path, database: str) -> Iterator[MadePool]:
    pool = MadePool(tmp_path / "here", database)
    yield pool
    pool.store.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[MadePool]:
    pool = MadePool(tmp_path / "here", "")
    yield pool
    pool.store.close()


@pytest.fixture(params=["to sqlite", "to postgresql"])
def elsewhere(request: pytest.FixtureRequest) -> str:
    """Return the database URL of a new pool."""
    if request.param == "to sqlite":
        return ""
    cluster: Cluster = request.getfixturevalue("postgresql")
    return cluster.new_database()


@pytest.mark.parametrize("name", ["backup.tar", "backup"])
def test_everything_comes_back_from_either_database_to_either(
    made: MadePool, elsewhere: str, tmp_path: Path, name: str
) -> None:
    out, studies, state = tmp_path / name, tmp_path / "there", tmp_path / "new state"
    before = facts(made.state)
    said = run("backup", out, *made.options())
    assert "3 of them labels; a model" in said and PASSWORD not in said
    assert out.is_dir() == (name == "backup")
    run("restore", out, "--studies", studies, "--state", state, "--database", elsewhere)
    again = State(state, migrate=True, url=elsewhere)
    assert facts(again) == before == facts(made.state)
    assert files(state) == files(made.folder) and (state / "pool.db").exists() == (elsewhere == "")
    kept = {name: content for name, content in files(made.studies).items() if name not in PICTURES}
    assert files(studies) == kept and any(name.startswith("versions/") for name in kept)
    assert give(again, Client("eve")).id > max(lease.id for lease in before["leases"]), "it goes on"
    again.ledger.add("later")
    assert [e["event"] for e in again.ledger.entries()][-2:] == ["handout", "later"]
    again.trainings.start({})
    again.plans.add(Plan(0, "p", "k", 1, None, 0, [], {}))


def test_images_come_back_with_their_times_so_that_none_is_embedded_again(
    local: MadePool, tmp_path: Path
) -> None:
    os.utime(local.studies / "i1.png", ns=(1_234_567_890_123_456_789, 1_234_567_890_123_456_789))
    for name in ("backup.tar", "backup"):
        out, studies, state = tmp_path / name, tmp_path / f"of {name}", tmp_path / f"state of {name}"
        run("backup", out, *local.options(), "--images")
        run("restore", out, "--studies", studies, "--state", state)
        assert files(studies) == files(local.studies)
        for image in IMAGES:
            assert image_fingerprint(studies / f"{image}.png") == image_fingerprint(
                local.studies / f"{image}.png"
            )
        store = PoolDatastore(str(studies), {"lung": 1})
        store.close()
        assert store.get_labeled_images() == IMAGES[:3] and len(store.list_images()) == 8
        assert store.get_label_info("i0", "final") == local.store.get_label_info("i0", "final")


def test_what_is_written_meanwhile_is_in_the_backup_whole_or_not_at_all(
    made: MadePool, tmp_path: Path
) -> None:
    out, state, stop = tmp_path / "backup.tar", tmp_path / "new state", threading.Event()
    worker = State(made.folder, url=made.url)

    def work() -> None:
        while not stop.is_set():
            for image in ("i5", "i6"):
                worker.handouts.skip(image, ANN, "later")
                worker.handouts.unskip(image, ANN)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        run("backup", out, *made.options())
    finally:
        stop.set()
        writer.join()
    run("restore", out, "--studies", tmp_path / "there", "--state", state)
    restored, after = State(state), made.state.ledger.entries()
    ledger = restored.ledger.entries()
    assert ledger == after[: len(ledger)] and 0 < len(ledger) < len(after)
    skipped: set[str | None] = set()
    for event in ledger:
        if event["event"] in ("skip", "unskip"):
            (skipped.add if event["event"] == "skip" else skipped.discard)(event["image"])
    assert set(restored.handouts.skipped()) == skipped, "the skips are those of the ledger's last line"


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def flip_in_tar(path: Path, name: str) -> None:
    with tarfile.open(path) as tar:
        at = tar.getmember(name).offset_data
    flip(path, at)


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("b.tar", lambda tar: flip_in_tar(tar, "studies/labels/final/i1.png"), "i1.png is damaged"),
        ("b.tar", lambda tar: flip_in_tar(tar, "state/pool.db"), "state/pool.db is damaged"),
        ("b.tar", lambda tar: flip_in_tar(tar, "manifest.json"), "is not a backup of a pool, or is damaged"),
        (
            "b.tar",
            lambda tar: os.truncate(tar, tar.stat().st_size // 2),
            "not a backup of a pool, or is damaged",
        ),
        ("b.tar", lambda tar: os.truncate(tar, 0), "not a backup of a pool, or is damaged"),
        ("b.tar", lambda tar: tar.unlink(), "no such backup"),
        ("b", lambda folder: flip(folder / "state/model.pt", 99), "state/model.pt is damaged"),
        ("b", lambda folder: (folder / "state/model.pt").unlink(), "state/model.pt cannot be read"),
        ("b", lambda folder: (folder / "manifest.json").unlink(), "is not a backup of a pool"),
    ],
)
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    local: MadePool, tmp_path: Path, name: str, damage: Callable[[Path], Any], says: str
) -> None:
    out, studies, state = tmp_path / name, tmp_path / "there", tmp_path / "new state"
    run("backup", out, *local.options())
    damage(out)
    assert says in refused("restore", out, "--studies", studies, "--state", state)
    assert not studies.exists() and not state.exists()


@pytest.mark.parametrize("name", ["state/../../evil", "studies//tmp/evil", "studies/./evil", "state"])
def test_names_that_lead_out_of_the_pool_are_refused(local: MadePool, tmp_path: Path, name: str) -> None:
    out = tmp_path / "backup"
    run("backup", out, *local.options())
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"].pop("state/model.pt")
    (out / "manifest.json").write_text(json.dumps(manifest))
    said = refused("restore", out, "--studies", tmp_path / "there", "--state", tmp_path / "new state")
    assert "does not belong in a pool" in said and not (tmp_path / "new state").exists()


def _holds(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file):
        yield


@pytest.mark.parametrize("full", ["state", "labels", "state server", "studies server"])
def test_a_full_or_held_target_is_refused_and_stays_as_it_is(
    local: MadePool, tmp_path: Path, full: str
) -> None:
    out, studies, state = tmp_path / "backup.tar", tmp_path / "there", tmp_path / "new state"
    run("backup", out, *local.options())
    studies.mkdir()
    shutil.copy2(local.studies / "i0.png", studies)
    says, lock = "already exists", tmp_path / "unused.lock"
    if full == "state":
        mine = State(state, migrate=True)
        mine.ledger.add("mine")
        mine.ledger._db.engine.dispose()  # now, not when Python happens to collect it: closing changes files
    elif full == "labels":
        (studies / "labels" / "final").mkdir(parents=True)
        (studies / "labels" / "final" / "i0.png").write_bytes(b"mine")
    else:
        says, lock = "a server is running", (state if full == "state server" else studies) / "x.lock"
        lock = lock.with_name("server.lock" if full == "state server" else ".server.lock")
    before = files(tmp_path)
    for _ in _holds(lock):
        assert says in refused("restore", out, "--studies", studies, "--state", state)
    assert files(tmp_path) == before
    if full == "state":
        assert [e["event"] for e in State(state).ledger.entries()] == ["mine"]
    else:
        assert not (state / "pool.db").exists()


def test_a_full_or_held_postgresql_database_is_refused(
    local: MadePool, tmp_path: Path, postgresql: Cluster
) -> None:
    out, studies, state, url = (
        tmp_path / "backup.tar",
        tmp_path / "there",
        tmp_path / "s",
        postgresql.new_database(),
    )
    run("backup", out, *local.options())
    target = ("--studies", studies, "--state", state, "--database", url)
    with Database(tmp_path / "other", url=url).exclusive("server", shared=True):
        assert "a server is running on this pool" in refused("restore", out, *target)
    assert not state.exists() and not studies.exists()
    run("restore", out, *target)
    before = facts(State(state, url=url))
    said = refused("restore", out, "--studies", tmp_path / "x", "--state", tmp_path / "y", "--database", url)
    assert "already has tables" in said and PASSWORD not in said
    assert facts(State(state, url=url)) == before and not (tmp_path / "x").exists()


@pytest.mark.parametrize("obstacle", ["there/labels/final/i2.png", "new state/model.pt"])
def test_a_restore_that_fails_half_way_is_undone(
    local: MadePool, elsewhere: str, tmp_path: Path, obstacle: str
) -> None:
    out, studies, state = tmp_path / "backup.tar", tmp_path / "there", tmp_path / "new state"
    run("backup", out, *local.options())
    for folder in (studies, state, tmp_path / obstacle):  # a folder where a file must go
        folder.mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    said = refused("restore", out, "--studies", studies, "--state", state, "--database", elsewhere)
    assert Path(obstacle).name in said
    assert sorted(tmp_path.rglob("*")) == before
    if elsewhere:
        assert sa.inspect(Database(tmp_path / "x", url=elsewhere).engine).get_table_names() == []
    (tmp_path / obstacle).rmdir()
    run("restore", out, "--studies", studies, "--state", state, "--database", elsewhere)
    assert facts(State(state, url=elsewhere)) == facts(local.state)


def test_a_backup_overwrites_nothing_and_needs_a_pool(local: MadePool, tmp_path: Path) -> None:
    out = tmp_path / "backup.tar"
    out.write_bytes(b"mine")
    assert "already exists" in refused("backup", out, *local.options())
    assert out.read_bytes() == b"mine"
    new = tmp_path / "new.tar"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no pool.db" in refused("backup", new, "--studies", local.studies, "--state", empty)
    assert "no such studies" in refused("backup", new, "--studies", tmp_path / "x", "--state", local.folder)
    with local.state.ledger._db.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    assert "start the server once" in refused("backup", new, *local.options())
    assert not list(empty.iterdir()) and not new.exists() and not list(tmp_path.glob(".new*"))


def test_a_moved_studies_folder_keeps_its_state(local: MadePool, tmp_path: Path) -> None:
    states = tmp_path / "app" / "state"
    old = states / state_name(str(local.studies))
    states.mkdir(parents=True)
    local.state.ledger._db.engine.dispose()
    local.store.close()
    local.folder.rename(old)
    before, moved = facts(State(old)), tmp_path / "archive" / "lungs"
    moved.parent.mkdir()
    move = ("move", "--state", states, "--from", local.studies, "--to", moved)
    assert "no such studies folder" in refused(*move)
    local.studies.rename(moved)
    for _ in _holds(old / "server.lock"):
        assert "a server is running on this pool" in refused(*move)
    assert "All 8 embedded images kept their times: none will be embedded again." in run(*move)
    new = states / state_name(str(moved))
    assert not old.exists() and facts(State(new)) == before
    said = refused(*move)
    assert f"there is no {old}" in said and new.name in said

    os.utime(moved / "i3.png")
    moved.rename(local.studies)
    said = run("move", "--app", tmp_path / "app", "--from", moved, "--to", local.studies)
    assert "1 of 8 embedded images changed their time" in said.replace("\n", " ")


def test_every_command_explains_itself() -> None:
    command = [sys.executable, "-m", "server.cli.pool"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    for name, options in (
        ("backup", ("--studies", "--state", "--database", "--images")),
        ("restore", ("--studies", "--state", "--database")),
        ("move", ("--state", "--from", "--to")),
    ):
        assert name in shown
        text = run(name, "--help")
        assert all(option in text for option in options)


def test_a_model_that_must_not_be_used_is_left_out_and_labels_come_back(tmp_path: Path) -> None:
    """A model whose network definition would be evaluated is left out."""
    made, marker = MadePool(tmp_path / "made", ""), tmp_path / "marker"
    checkpoint = torch.load(made.folder / "model.pt", weights_only=True)
    checkpoint["details"]["overrides"]["dropout"] = f"$open({str(marker)!r}, 'w')"
    torch.save(checkpoint, made.folder / "model.pt")
    run("backup", tmp_path / "b.tar", *made.options())
    studies, state = tmp_path / "there", tmp_path / "new state"
    said = run("restore", tmp_path / "b.tar", "--studies", studies, "--state", state)
    assert "model.pt is left out" in said and "would be evaluated" in said and "train again" in said
    assert not (state / "model.pt").exists() and not marker.exists()
    assert len(list((studies / "labels" / "final").glob("*.png"))) == 3 and (state / "pool.db").exists()
    made.store.close()
