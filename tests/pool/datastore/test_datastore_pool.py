"""Files that come and go, kept versions, one writer, disks that cannot be written, 100,000 images."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool.datastore import index_file as datastore_disk
from pool.datastore.store import InUse, PoolDatastore
from pool.errors import PoolError
from pool.protocol import PoolStore

# files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("x.jpeg", "x"),
        ("x.JPG", "x"),
        ("x.PNG", "x"),
        ("x.tiff", "x"),
        ("x.dcm", "x"),
        ("x.NII.gz", "x"),
        ("x.png.png", "x.png"),
        ("a b.1 [2].nii", "a b.1 [2]"),
        (".hidden.png", None),
        ("._x.png", None),
        (".png", None),
        ("x.txt", None),
        ("x", None),
    ],
)
def test_what_is_an_image(place: Any, name: str, image: str | None) -> None:
    (place.studies / name).write_bytes(b"anything")
    store = place.open()
    assert store.list_images() == sorted(["a", "b", "c"] + ([image] if image else []))
    if image:
        assert store.get_image_uri(image) == str(place.studies / name)


def test_folders_and_dead_links_are_no_images(place: Any) -> None:
    (place.studies / "x.png").mkdir()
    (place.studies / "y.png").symlink_to(place.top / "nothing")
    (place.studies / "z.png").symlink_to(place.studies / "a.png")
    assert place.open().list_images() == ["a", "b", "c", "z"]


def test_name_that_no_json_can_hold_is_left_out_and_said(place: Any, caplog: Any) -> None:
    (place.studies / os.fsdecode(b"caf\xe9.png")).write_bytes(b"anything")
    store = place.open()
    store.refresh()
    assert store.list_images() == ["a", "b", "c"]
    (said,) = [r.getMessage() for r in caplog.records if "not UTF-8" in r.getMessage()]
    assert r"caf\udce9.png" in said and "rename it" in said
    store.close()


def test_two_files_with_one_id_are_named_and_never_swapped(place: Any, caplog: Any) -> None:
    place.image("a.jpg")
    place.image("A.PNG")
    store = place.open()
    assert store.list_images() == ["A", "a", "b", "c"]
    assert store.clashing_files() == {"a": ["a.jpg", "a.png"]}
    place.image("b.bmp.tif"), place.image("b.jpeg")  # comes later, and is earlier by name
    store.refresh(), store.refresh()
    assert Path(store.get_image_uri("b")).name == "b.png"
    assert store.clashing_files() == {"a": ["a.jpg", "a.png"], "b": ["b.png", "b.jpeg"]}
    said = [r.getMessage() for r in caplog.records if "more than one file" in r.getMessage()]
    assert len(said) == 2 and "a.jpg is used, a.png not; rename or remove" in said[0]
    store.close()
    again = place.open()
    assert Path(again.get_image_uri("b")).name == "b.png", "also after a new start"
    place.label(again, "b", 3, "one")
    (place.studies / "b.png").unlink()
    again.take_over_changes()
    assert Path(again.get_image_uri("b")).name == "b.jpeg" and again.is_labelled("b")
    assert "Image b is now the file b.jpeg" in caplog.text


def test_changes_are_found_without_a_watcher(place: Any) -> None:
    store = place.open()
    store._folder.observer.stop()
    store._folder.observer.join()
    images = store.list_images()
    store.take_over_changes()
    assert store.list_images() is images
    place.image("d.png")
    (place.studies / "b.png").rename(place.studies / "bb.png")
    store.take_over_changes()
    assert store.list_images() == ["a", "bb", "c", "d"] and images == ["a", "b", "c"]
    label = place.studies / "labels/final/bb.png"
    label.write_bytes(place.mask(3).read_bytes())
    store.take_over_changes()
    assert store.get_labeled_images() == ["bb"] and store.get_label_info("bb", "final")["name"] == "bb.png"
    label.unlink()
    store.take_over_changes()
    assert store.count_labelled() == 0 and store.status()["label_tags"] == {}


def test_label_that_came_before_its_image_is_named_and_waits(place: Any, caplog: Any) -> None:
    store = place.open()
    (place.studies / "labels/final/d.png").write_bytes(place.mask(3).read_bytes())
    store.take_over_changes()
    assert "1 files in the labels final belong to no image, the first: d.png" in caplog.text
    place.image("d.png")
    store.take_over_changes()
    assert store.get_labeled_images() == ["d"]


def test_image_is_added_once_and_removed_with_its_labels(place: Any) -> None:
    store, sent = place.open(), place.image("../sent.png", 50)
    assert store.add_image("d", str(sent), {"age": 3}) == store.add_image("d", str(sent), {"age": 3}) == "d"
    assert store.get_image_info("d")["age"] == 3 and Path(store.get_image_uri("d")).name == "d.png"
    for image, name, status in (("a", "sent.png", 409), ("../x", "sent.png", 400), ("y", "sent.txt", 400)):
        (place.top / "sent.txt").touch()
        with pytest.raises(PoolError) as caught:
            store.add_image(image, str(place.top / name), {})
        assert caught.value.status == status
    data = place.label(store, "d", 3, "one")
    store.remove_image("d")
    assert not store.has_image("d") and not (place.studies / "d.png").exists()
    assert place.versions()["d.1.png"][0] == data
    with pytest.raises(PoolError, match="no image 'd'"):
        store.remove_image("d")


# labels -----------------------------------------------------------------------------------------------


def test_every_final_label_is_kept_with_who_and_when(place: Any) -> None:
    store = place.open()
    made = [place.label(store, "a", row, f"reader {row}") for row in range(3)]
    made += [
        place.label(store, "a", 3, "reader 3", ".nii.gz"),
        place.label(store, "a", 4, "reader 4", ".nrrd"),
    ]
    kept = place.versions()
    assert list(kept) == ["a.1.png", "a.2.png", "a.3.png", "a.4.nii.gz"]
    for n, (data, said) in enumerate(kept.values()):
        assert data == made[n] and said["version"] == n + 1 and said["ended"] == "replaced"
        assert said["info"]["client_id"] == f"reader {n}" and said["info"]["version"] == n + 1
        assert said["ended_ts"] >= said["info"]["ts"] > time.time() - 100
    assert store.get_label_info("a", "final")["version"] == 5
    assert [p.name for p in (place.studies / "labels/final").iterdir()] == ["a.nrrd"]
    store.remove_label("a", "final")
    assert place.versions()["a.5.nrrd"][1]["ended"] == "removed"
    assert store.get_labeled_images() == [] and not list((place.studies / "labels/final").iterdir())
    place.label(store, "a", 6, "reader 6")
    assert store.get_label_info("a", "final")["version"] == 6


def test_other_tags_are_replaced_without_versions(place: Any) -> None:
    store = place.open()
    store.save_label("a", str(place.mask(3)), "draft", {})
    store.save_label("a", str(place.mask(4, ".nrrd")), "draft", {})
    assert [p.name for p in (place.studies / "labels/draft").iterdir()] == ["a.nrrd"]
    store.remove_label("a", "draft")
    assert store.get_labels_by_image_id("a") == {} and place.versions() == {}
    with pytest.raises(PoolError, match="has no label with the tag 'draft'"):
        store.remove_label("a", "draft")


def test_file_system_without_hard_links_keeps_versions_too(place: Any, monkeypatch: Any) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", refuse)
    store = place.open()
    first = place.label(store, "a", 3, "one")
    place.label(store, "a", 4, "two")
    assert place.versions()["a.1.png"][0] == first


def test_callbacks_hear_of_a_label_after_it_is_kept(place: Any, caplog: Any) -> None:
    heard: list[Any] = []

    def saved(image: str, tag: str, info: dict[str, Any]) -> None:
        heard.append((image, tag, info["client_id"], store.is_labelled("a"), place.journal.exists()))
        raise RuntimeError("the ledger is full")

    store = place.open(saved=saved)
    with caplog.at_level(logging.ERROR):
        place.label(store, "a", 3, "one")
    assert heard == [("a", "final", "one", True, True)]
    assert (
        "Telling the server about the label of a failed" in caplog.text
        and "the ledger is full" in caplog.text
    )
    store.close()
    told = threading.Event()
    store = place.open(changed=told.set)
    store._folder.observer.stop()
    store._folder.observer.join()
    told.clear()
    store.remove_label("a", "final")
    assert told.is_set()


def test_infos_are_kept_as_json_can_hold_them(place: Any) -> None:
    store = place.open()
    store.update_image_info("a", {"path_like": Path("x"), "nan": float("nan"), "half": "\ud800", 1: "one"})
    place.label(store, "a", 3, "ä\u2028")
    alive = json.loads(json.dumps(store.json()))
    for _ in range(2):
        assert json.loads(json.dumps(place.open(read_only=True).json())) == alive
        store.close()
    with pytest.raises(PoolError) as caught:
        place.open().update_image_info("a", ["no", "names"])
    assert caught.value.status == 400


def test_answers_cannot_be_used_to_change_the_store(place: Any) -> None:
    store = place.open()
    place.label(store, "a", 3, "one")
    store.get_image_info("a")["x"] = store.get_label_info("a", "final")["x"] = 1
    store.get_labeled_images().append("b"), store.status()["label_tags"].update(final=9)
    assert "x" not in store.get_image_info("a") and "x" not in store.get_label_info("a", "final")
    assert store.get_labeled_images() == ["a"] and store.status()["label_tags"] == {"final": 1}


def test_labels_saved_at_once_are_all_kept(place: Any) -> None:
    store, errors = place.open(), []
    masks = [place.mask(row) for row in range(8)]

    def save(row: int) -> None:
        try:
            for image in ("a", "b", "c"):
                store.save_label(image, str(masks[row]), "final", {"client_id": str(row)})
                store.take_over_changes()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    for image in ("a", "b", "c"):
        said = [s for _, s in place.versions().values() if s["image"] == image]
        who = {s["info"]["client_id"] for s in said} | {store.get_label_info(image, "final")["client_id"]}
        assert who == {str(row) for row in range(8)} and len(said) == 7
    alive = store.json()
    store.close()
    assert place.open().json() == alive


# one writer, and disks --------------------------------------------------------------------------------


def test_second_server_is_refused_until_the_first_ends(place: Any, monkeypatch: Any) -> None:
    def wait(folder: Path, seconds: float = 10) -> Any:
        return lock(folder, 0.2)

    lock = datastore_disk.lock_studies
    monkeypatch.setattr("pool.datastore.folder.lock_studies", wait)
    first = place.open()
    with pytest.raises(InUse, match=f"another server works on the studies folder {place.studies}"):
        PoolDatastore(str(place.studies), {})
    place.label(first, "a", 3, "one")
    assert place.open(read_only=True).get_labeled_images() == ["a"], "a child reads beside it"
    first.close()
    first.close()
    assert place.open().get_labeled_images() == ["a"]
    with pytest.raises(PoolError, match="the server is ending"):
        place.label(first, "b", 3, "late")


def test_killed_server_holds_nothing(place: Any) -> None:
    place.killed(place.open)
    assert place.open().list_images() == ["a", "b", "c"]


def test_child_sees_what_the_server_did_since(place: Any) -> None:
    server = place.open()
    child = place.open(read_only=True)
    place.label(server, "a", 3, "one")
    assert child.get_labeled_images() == []
    child.refresh()
    assert child.get_labeled_images() == ["a"]
    with pytest.raises(PoolError) as caught:
        place.label(child, "b", 3, "two")
    assert caught.value.status == 507
    before = place.json.read_bytes(), place.journal.read_bytes()
    child.save_label("b", str(place.mask(4)), "original", {})  # as a batch of predictions does
    assert (place.json.read_bytes(), place.journal.read_bytes()) == before
    server.take_over_changes()
    assert server.get_labels_by_image_id("b") == {"original": "b"}


def test_child_never_reads_half_a_rewrite(place: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("pool.datastore.index_file._MAX_JOURNAL", 3)
    server, stop, seen = place.open(), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            seen.append(place.open(read_only=True).get_image_info("a").get("n", -1))

    reader = threading.Thread(target=read)
    reader.start()
    written = 0
    while written < 150 or (len(seen) <= 5 and reader.is_alive()):
        server.update_image_info("a", {"n": written})
        written += 1
    stop.set()
    reader.join(60)
    assert len(seen) > 5 and seen == sorted(seen), "it never went back"


def test_folder_that_cannot_be_written_still_hands_out_images(
    place: Any, mounted: Callable[..., None], caplog: Any
) -> None:
    store = place.open()
    place.label(store, "a", 3, "one")
    store.close()
    place.image("d.png")
    mounted("--bind", str(place.studies), str(place.studies))
    mounted("-o", "remount,ro,bind", str(place.studies))
    store = place.open()
    errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
    said = [r.getMessage() for r in errors if r.name.startswith("pool.")]  # watchdog may complain of its end
    assert len(said) == 1 and "labels cannot be saved: make the folder writable" in said[0]
    child = place.open(read_only=True)
    for each in (store, child):
        assert each.list_images() == ["a", "b", "c", "d"] and each.get_labeled_images() == ["a"]
        each.update_image_info("b", {"strategy": {"auto": {}}})
    with pytest.raises(PoolError, match="Read-only.*make it writable.*start the server") as caught:
        place.label(store, "b", 3, "one")
    assert caught.value.status == 507


def test_new_folder_that_cannot_be_written_hands_out_images(place: Any, mounted: Callable[..., None]) -> None:
    mounted("--bind", str(place.studies), str(place.studies))
    mounted("-o", "remount,ro,bind", str(place.studies))
    for store in (place.open(), place.open(read_only=True)):
        assert store.list_images() == ["a", "b", "c"] and store.status()["completed"] == 0


def test_full_disk_refuses_a_label_and_takes_it_when_there_is_room(
    tmp_path: Path, mounted: Callable[..., None], new_place: Callable[..., Any]
) -> None:
    (tmp_path / "small" / "studies").mkdir(parents=True)
    mounted("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path / "small" / "studies"))
    place = new_place("small")
    store, ballast = place.open(), place.studies / "ballast"
    first = place.label(store, "a", 3, "one")
    before = store.json()
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(b"0" * 4096):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    with pytest.raises(PoolError, match="No space left.*make room") as caught:
        place.label(store, "a", 4, "two")
    assert caught.value.status == 507 and store.json() == before
    assert Path(store.get_label_uri("a", "final")).read_bytes() == first
    assert not list(place.studies.rglob("*.tmp"))
    store.close()
    full = place.open()  # a start on the full disk
    assert full.list_images() == ["a", "b", "c"] and full.get_labeled_images() == ["a"]
    full.close()
    ballast.unlink()
    store = place.open()
    assert store.json() == before
    place.label(store, "a", 4, "two")
    assert place.versions()["a.1.png"][0] == first


# many -------------------------------------------------------------------------------------------------


def test_100_000_images(new_place: Callable[..., Any]) -> None:
    place = new_place("many", images=())
    image = place.image("i000000.png")
    for n in range(1, 100_000):
        if n % 30_000 == 0:  # a file has so many names on some file systems
            image = place.image(f"i{n:06d}.png")
        else:
            os.link(image, place.studies / f"i{n:06d}.png")
    store: PoolStore = place.open()
    ids = [f"i{n:06d}" for n in range(100_000)]
    images = store.list_images()
    assert images == ids
    written = place.json.read_bytes()
    for n in range(0, 100, 10):
        place.label(store, ids[n], n % 7, "one")
        assert store.list_images() is images
    assert place.json.read_bytes() == written, "no label writes the whole pool again"
    assert store.count_labelled() == 10 and store.is_labelled(ids[90]) and not store.is_labelled(ids[91])
    os.link(image, place.studies / "new.png")
    os.unlink(place.studies / "i000005.png")
    store.take_over_changes()
    assert store.has_image("new") and not store.has_image("i000005") and len(store.list_images()) == 100_000
    store.close()
    again = place.open()
    assert again.get_labeled_images() == ids[:100:10]
    assert again.status() == {"total": 100_000, "completed": 10, "label_tags": {"final": 10}}
    assert place.open(read_only=True).list_images() == again.list_images()
