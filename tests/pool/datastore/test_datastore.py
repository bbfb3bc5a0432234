"""The local datastore: sorted, checked, atomic, and friendly to what stock MONAI Label left."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monailabel.datastore.local import LocalDatastore
from PIL import Image

from pool.datastore import PoolDatastore
from pool.errors import PoolError

LABELS = {"right lung": 1, "left lung": 2}
Open = Callable[..., PoolDatastore]


def write(path: Path, value: int = 90) -> Path:
    """A small image, or with a value of 1 or 2 a label."""
    pixels = np.zeros((20, 24), np.uint8)
    pixels[4:12, 5:9] = value
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    for name in ("c.png", "a.jpeg", "b.PNG", "notes.txt"):
        write(folder / name) if name != "notes.txt" else (folder / name).write_text("no image")
    return folder


@pytest.fixture
def opened(studies: Path) -> Iterator[Open]:
    """Opens the studies folder; all are closed with the test."""
    stores: list[PoolDatastore] = []

    def make(**options: Any) -> PoolDatastore:
        stores.append(PoolDatastore(str(studies), LABELS, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def files(folder: Path) -> dict[str, bytes]:
    """All files but the locks, with their content."""
    locks = (".lock", ".server.lock")
    found = (p for p in folder.rglob("*") if p.is_file() and p.name not in locks)
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def test_images_are_found_whatever_their_extension_and_sorted(opened: Open) -> None:
    store = opened()
    assert store.list_images() == store.get_unlabeled_images() == ["a", "b", "c"]
    assert [Path(store.get_image_uri(i)).name for i in ("a", "b", "c")] == ["a.jpeg", "b.PNG", "c.png"]


def test_saved_label_is_kept_and_counted(opened: Open, studies: Path, tmp_path: Path) -> None:
    store, label = opened(), write(tmp_path / "sent.png", 2)
    for image in ("c", "a"):
        assert store.save_label(image, str(label), "final", {"client_id": "one"}) == image
    assert store.get_labeled_images() == ["a", "c"] and store.get_unlabeled_images() == ["b"]
    assert (studies / "labels/final/c.png").read_bytes() == label.read_bytes()
    info = store.get_label_info("c", "final")
    assert info["client_id"] == "one" and info["name"] == "c.png"
    pairs = [(Path(p["image"]).name, Path(p["label"]).name) for p in store.datalist()]
    assert pairs == [("a.jpeg", "a.png"), ("c.png", "c.png")]
    store.close()
    written = json.loads((studies / "datastore_v2.json").read_text())["objects"]
    assert set(written["c"]["labels"]) == {"final"}


def test_upper_case_label_extension_is_accepted(opened: Open, tmp_path: Path) -> None:
    store = opened()
    store.save_label("b", str(write(tmp_path / "B.PNG", 1)), "final", {})
    assert Path(store.get_label_uri("b", "final")).is_file()


@pytest.mark.parametrize(
    ("image", "name", "value", "status", "says"),
    [
        ("nobody", "a.png", 1, 404, "no image 'nobody'"),
        ("a", "a.jpg", 1, 422, "a label file ends in .png"),
        ("a", "a.png", 77, 422, r"label for a: .*\[77\]"),
        ("a", "a.png", 0, 422, "label for a: .*empty"),
    ],
)
def test_refused_label_leaves_no_trace(
    opened: Open, studies: Path, tmp_path: Path, image: str, name: str, value: int, status: int, says: str
) -> None:
    store, label = opened(), write(tmp_path / name, value)
    before = files(studies)
    with pytest.raises(PoolError) as caught:
        store.save_label(image, str(label), "final", {})
    assert caught.value.status == status
    assert re.search(says, caught.value.text)
    assert files(studies) == before and store.get_labeled_images() == []


def test_empty_label_is_kept_when_the_annotator_says_so(opened: Open, tmp_path: Path) -> None:
    store = opened()
    store.save_label("a", str(write(tmp_path / "a.png", 0)), "final", {"empty": True})
    assert store.get_labeled_images() == ["a"]


def test_other_tags_are_kept_unchecked_and_do_not_count(opened: Open, tmp_path: Path) -> None:
    store = opened()
    store.save_label("a", str(write(tmp_path / "a.png", 77)), "original", {})
    assert store.get_labeled_images() == [] and store.get_labels_by_image_id("a") == {"original": "a"}


def test_json_is_written_whole_or_not_at_all(
    opened: Open, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, label = opened(), write(tmp_path / "a.png", 1)
    before = (studies / "datastore_v2.json").read_bytes()
    move = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == "datastore_v2.json":
            raise OSError("no space left on device")
        move(source, target)

    monkeypatch.setattr(os, "replace", full)
    store.save_label("a", str(label), "final", {"client_id": "one"})
    store.close()  # it cannot shorten the journal
    monkeypatch.undo()
    assert (studies / "datastore_v2.json").read_bytes() == before
    again = opened()
    assert again.get_labeled_images() == ["a"]
    assert again.get_label_info("a", "final")["client_id"] == "one"


@pytest.mark.parametrize("damage", [b"", b'{"name": "x", "obj', b"[]", b"\xff\xfe"])
def test_damaged_json_is_set_aside_and_rebuilt_with_its_labels(
    opened: Open, studies: Path, tmp_path: Path, damage: bytes
) -> None:
    store = opened()
    store.save_label("b", str(write(tmp_path / "b.png", 1)), "final", {})
    store.close()
    (studies / "datastore_v2.json").write_bytes(damage)
    again = opened()
    assert again.list_images() == ["a", "b", "c"] and again.get_labeled_images() == ["b"]
    assert [p.read_bytes() for p in studies.glob("datastore_v2.json.damaged-*")] == [damage]


def test_child_reads_what_the_server_wrote_and_writes_nothing(
    opened: Open, studies: Path, tmp_path: Path
) -> None:
    server = opened()
    server.save_label("b", str(write(tmp_path / "b.png", 1)), "final", {})
    write(studies / "later.png")  # not the child's to take over
    before = files(studies)
    child = opened(read_only=True)
    assert child.list_images() == ["a", "b", "c"] and child.get_labeled_images() == ["b"]
    child.update_image_info("a", {"seen": True})
    child.set_name("another")
    assert files(studies) == before


def test_child_leaves_a_damaged_json_to_the_server(opened: Open, studies: Path) -> None:
    (studies / "datastore_v2.json").write_text("{")
    with pytest.raises(ValueError):
        opened(read_only=True)
    assert (studies / "datastore_v2.json").read_text() == "{"


def test_folder_of_stock_monai_label_is_taken_over(opened: Open, studies: Path, tmp_path: Path) -> None:
    stock = LocalDatastore(str(studies), extensions=["*.png"])
    stock.save_label("c", str(write(tmp_path / "c.png", 2)), "final", {"reader": "two"})
    store = opened()
    assert store.list_images() == ["a", "b", "c"] and store.get_labeled_images() == ["c"]
    assert store.get_label_info("c", "final")["reader"] == "two"


@pytest.mark.parametrize("name", ["studies", "with [brackets] and spaces"])
def test_files_that_come_go_or_are_renamed_are_noticed(tmp_path: Path, name: str) -> None:
    folder, told = tmp_path / name, threading.Event()
    folder.mkdir()
    write(folder / "b.png")
    store = PoolDatastore(str(folder), LABELS, changed=told.set)

    def after(change: Callable[[], Any]) -> list[str]:
        told.clear()
        change()
        assert told.wait(10), "the server was not told"
        time.sleep(0.3)  # one change may be several events
        store.take_over_changes()
        return store.list_images()

    try:
        assert after(lambda: write(folder / "aa.png")) == ["aa", "b"]
        (folder / ".partial").write_bytes((folder / "b.png").read_bytes())  # as rsync does
        assert after(lambda: (folder / ".partial").rename(folder / "c.png")) == ["aa", "b", "c"]
        assert after((folder / "b.png").unlink) == ["aa", "c"]
    finally:
        store.close()


def test_a_tag_that_would_leave_the_folder_is_refused(opened: Open, tmp_path: Path) -> None:
    label = write(tmp_path / "a.png", 1)
    with pytest.raises(PoolError) as caught:
        opened().save_label("a", str(label), "../../elsewhere", {})
    assert caught.value.status == 400
