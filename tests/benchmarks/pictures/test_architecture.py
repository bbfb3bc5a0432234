"""The picture of the packages: from the imports in the tree, with every package and room."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pictures.architecture import ROOT, arrows, draw, level, reduced, rows_of
from tests.test_layers import ORDER


def test_the_arrows_are_those_of_the_tree() -> None:
    between, inside = arrows()
    assert set(between) == set(ORDER) == set(inside)
    for package, others in between.items():
        assert others <= set(ORDER[: ORDER.index(package)])
    assert not between["pool"] and "pool" in between["server"]
    assert inside["pool"]["backup"] == {"database"}


def test_arrows_that_follow_from_others_are_left_out() -> None:
    links = {"a": {"b", "c"}, "b": {"c"}, "c": set[str](), "d": {"e"}, "e": {"d", "c"}}
    assert reduced(links) == {"a": {"b"}, "b": {"c"}, "c": set(), "d": set(), "e": {"c"}}
    assert level(links, "a") == 2
    assert rows_of(links) == [["c", "d"], ["b", "e"], ["a"]]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw(tmp_path / "picture.svg")
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_the_picture_of_the_documents_shows_every_room() -> None:
    text = (ROOT / "docs" / "images" / "architecture.svg").read_text()
    _, inside = arrows()
    names = {f"{package}/" for package in inside} | {room for rooms in inside.values() for room in rooms}
    missing = sorted(name for name in names if f">{name}</text>" not in text)
    assert not missing, "run: python -m benchmarks.pictures.architecture"
