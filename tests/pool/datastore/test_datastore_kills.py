"""Kills, damage and stock MONAI Label: no label is lost, and the folder stays what both can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

NewPlace = Callable[..., Any]


def state(store: Any) -> dict[str, Any]:
    """All that is kept, as JSON gives it."""
    return json.loads(json.dumps(store.json()))


@pytest.mark.parametrize("ext", [".png", ".nii.gz"])
def test_kill_at_any_point_of_a_second_label_loses_neither(new_place: NewPlace, ext: str) -> None:
    seen, last = set(), False
    for step in count(1):
        place = new_place(f"kill{step}")
        with_first = place.open()
        first = place.label(with_first, "a", 3, "one")
        with_first.close()

        second = place.mask(5, ext).read_bytes()
        last = not place.killed(lambda place=place: place.label(place.open(), "a", 5, "two", ext), step)
        store = place.open()
        now, info = Path(store.get_label_uri("a", "final")).read_bytes(), store.get_label_info("a", "final")
        assert (now, info["client_id"]) in ((first, "one"), (second, "two"))
        seen.add(info["client_id"])
        if now == second:
            assert place.versions()["a.1.png"][0] == first
        place.label(store, "a", 5, "two", ext)  # as the client does when it got no answer
        kept = place.versions()
        assert [v["info"]["client_id"] for data, v in kept.values() if data == first] == ["one"]
        assert Path(store.get_label_uri("a", "final")).read_bytes() == second
        assert store.get_label_info("a", "final")["version"] == len(kept) + 1
        store.close()
        assert place.stock().get_label_info("a", "final")["client_id"] == "two"
        assert not list(place.studies.rglob("*.tmp"))
        if last:
            break
    assert seen == {"one", "two"} and last and step > 10


def test_kill_at_any_point_of_a_removal_keeps_the_label_or_its_version(new_place: NewPlace) -> None:
    seen = set()
    for step in count(1):
        place = new_place(f"kill{step}")
        store = place.open()
        data = place.label(store, "a", 3, "one")
        store.close()
        last = not place.killed(lambda place=place: place.open().remove_label("a", "final"), step)
        store = place.open()
        seen.add(store.is_labelled("a"))
        if store.is_labelled("a"):
            assert Path(store.get_label_uri("a", "final")).read_bytes() == data
            assert store.get_label_info("a", "final")["client_id"] == "one"
        else:
            kept, said = place.versions()["a.1.png"]
            assert (kept, said["info"]["client_id"], said["ended"]) == (data, "one", "removed")
        if last:
            break
    assert seen == {True, False}


def test_all_that_was_done_before_a_kill_is_there_after_it(place: Any) -> None:
    def work() -> None:
        store = place.open()
        place.label(store, "a", 3, "one")
        place.label(store, "a", 4, "two", ".nrrd")
        place.label(store, "b", 5, "three")
        store.save_label("b", str(place.mask(6)), "draft", {})
        store.remove_label("b", "draft")
        store.update_image_info("c", {"note": [1, "ä"]})
        store.update_label_info("b", "final", {"seen": True})
        store.set_name("pool")
        store.set_description("chest")
        place.image("d.png")
        store.take_over_changes()
        (place.top / "alive.json").write_text(json.dumps(store.json()))

    place.killed(work)
    before = place.journal.read_bytes()
    assert before.count(b"\n") == 11, "a header and one line per change"
    alive = json.loads((place.top / "alive.json").read_text())
    child = place.open(read_only=True)
    assert state(child) == alive and place.journal.read_bytes() == before
    assert child.list_images() == ["a", "b", "c", "d"] and child.get_labeled_images() == ["a", "b"]
    store = place.open()
    assert state(store) == alive and not place.journal.exists()
    assert json.loads(place.json.read_text()) == alive


def test_stock_finds_images_and_labels_that_a_killed_server_left(place: Any) -> None:
    def work() -> None:
        store = place.open()
        place.label(store, "a", 3, "one")
        place.label(store, "a", 4, "two", ".nii.gz")
        place.label(store, "c", 5, "one", ".nrrd")
        place.image("d.png")
        store.take_over_changes()

    place.killed(work)
    stock = place.stock()
    assert sorted(stock.list_images()) == ["a", "b", "c", "d"]
    assert sorted(stock.get_labeled_images()) == ["a", "c"]
    assert Path(stock.get_label_uri("a", "final")).read_bytes() == place.mask(4, ".nii.gz").read_bytes()
    stock.set_description("seen by stock")
    stock.save_label("b", str(place.mask(6)), "final", {"client_id": "stock"})
    store = place.open()
    who = {i: store.get_label_info(i, "final")["client_id"] for i in store.get_labeled_images()}
    assert who == {"a": "two", "b": "stock", "c": "one"}, "stock did not know who; the journal did"
    assert store.description() == "seen by stock"


def test_stock_reads_what_a_clean_end_left_as_it_is(place: Any) -> None:
    store = place.open()
    place.label(store, "a", 3, "one")
    place.label(store, "a", 4, "two")
    store.save_label("b", str(place.mask(5)), "draft", {"x": 1})
    store.close()
    left, stock = place.json.read_bytes(), place.stock()
    assert place.json.read_bytes() == left, "stock had nothing to change"
    assert state(stock) == state(store)
    assert stock.get_label_info("a", "final")["client_id"] == "two"


def test_folder_of_stock_is_taken_over_unchanged(place: Any) -> None:
    stock = place.stock()
    stock.set_name("pool")
    stock.set_description("chest")
    stock.update_image_info("b", {"age": 70, "strategy": {"random": {"ts": 1}}})
    stock.save_label("a", str(place.mask(3)), "final", {"reader": "one"})
    stock.save_label("c", str(place.mask(4, ".nii.gz")), "second_reader", {"reader": "two"})
    left = place.json.read_bytes()
    store = place.open()
    assert state(store) == json.loads(left) and store.status() == stock.status()
    assert store.datalist() == stock.datalist()
    store.close()
    assert place.json.read_bytes() == left


@pytest.mark.parametrize("tail", [b'{"image":"b","ext":".p', b"\0\0\0\0", b'{"image":"b","gone":true}'])
def test_last_line_that_a_kill_cut_off_is_ignored(place: Any, tail: bytes) -> None:
    place.killed(lambda: place.label(place.open(), "a", 3, "one"))
    with open(place.journal, "ab") as journal:
        journal.write(tail)
    store = place.open()
    assert store.list_images() == ["a", "b", "c"] and store.get_labeled_images() == ["a"]
    assert not list(place.studies.glob("*damaged*"))


@pytest.mark.parametrize("line", [0, 1, 2])
def test_damaged_line_is_set_aside_and_the_good_ones_are_used(place: Any, line: int, caplog: Any) -> None:
    def work() -> None:
        store = place.open()
        place.label(store, "a", 3, "one")
        place.label(store, "b", 4, "two")

    place.killed(work)
    lines = place.journal.read_bytes().split(b"\n")
    lines[line] = b"\xff" + lines[line][3:]
    place.journal.write_bytes(b"\n".join(lines))
    store = place.open()
    assert store.get_labeled_images() == ["a", "b"], "their files are there"
    lost = {1: "a", 2: "b"}.get(line)
    for image, who in (("a", "one"), ("b", "two")):
        assert store.get_label_info(image, "final").get("client_id") == (None if image == lost else who)
    (aside,) = place.studies.glob("datastore_v2.journal.damaged-*")
    assert aside.read_bytes() == b"\n".join(lines)
    assert f"damaged in line {line + 1}; it is kept as {aside.name}" in caplog.text


def test_damaged_json_beside_a_journal_loses_nothing_that_the_journal_has(place: Any) -> None:
    place.killed(lambda: place.label(place.open(), "a", 3, "one"))
    place.json.write_text('{"name": "x", ')
    store = place.open()
    assert store.list_images() == ["a", "b", "c"]
    assert store.get_label_info("a", "final")["client_id"] == "one"
    assert Path(store.get_image_uri("a")).name == "a.png"


def test_long_journal_becomes_a_new_json(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool.datastore.index_file._MAX_JOURNAL", 5)
    store = place.open()
    for n in range(5):
        store.update_image_info("a", {"n": n})
    assert place.journal.read_bytes().count(b"\n") == 6, "with its header"
    store.update_image_info("a", {"n": 5})
    assert not place.journal.exists()
    assert json.loads(place.json.read_text())["objects"]["a"]["image"]["info"]["n"] == 5
    store.update_image_info("a", {"n": 6})
    assert place.open(read_only=True).get_image_info("a")["n"] == 6


def test_last_hand_out_is_not_written_but_comes_with_the_image(place: Any) -> None:
    store = place.open()
    before = place.json.read_bytes()
    store.update_image_info("a", {"strategy": {"auto": {"ts": 1, "client_id": "one"}}})
    assert store.get_image_info("a")["strategy"]["auto"]["client_id"] == "one"
    assert place.json.read_bytes() == before and not place.journal.exists()
