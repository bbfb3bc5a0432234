"""Groups of images: tables, patterns, and refused settings."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pool.groups import Groups, read_groups
from server.config import ConfigError
from server.open_pool import open_groups


def table(folder: Path, text: str) -> str:
    (folder / "groups.csv").write_text(text)
    return str(folder / "groups.csv")


def test_a_table_groups_images_by_id_or_file_name(tmp_path: Path) -> None:
    groups = read_groups(table(tmp_path, "\ufeffgroup,image,note\nann,a,\nann,b.PNG,x\nbob,c.nii.gz,\n,d,\n"))
    rows = groups.rows(["a", "b", "c", "d", "e"])
    assert rows is not None and rows[0] == rows[1] and len(set(rows)) == 4


def test_a_pattern_groups_images_and_leaves_the_others_alone() -> None:
    rows = read_groups(r"^(patient\d+)_").rows(["patient1_a", "patient1_b", "patient2_a", "x", "y"])
    assert rows is not None and rows[0] == rows[1] and len(set(rows)) == 4


def test_an_image_named_as_a_group_is_not_in_it() -> None:
    rows = read_groups(r"(p\d)_").rows(["p1_a", "p1"])
    assert rows is not None and rows[0] != rows[1]


def test_without_any_group_there_are_no_rows() -> None:
    assert Groups().rows(["a", "b"]) is None
    assert read_groups(r"^(patient\d+)_").rows(["a", "b"]) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patients.csv", "0 groups instead of one"),
        (r"^(a)(b)", "2 groups instead of one"),
        ("^(a", "nor a regular expression"),
    ],
)
def test_what_is_neither_stops_the_start_and_says_what_to_give(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as stopped:
        open_groups(text)
    assert "--conf groups" in str(stopped.value) and "image,group" in str(stopped.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,ann\nb,ann\n", "write image,group"),
        ("", "write image,group"),
        ("image;group\na;ann\n", "write image,group"),
        ("image,group\na,ann\na.png,bob\n", "line 3 puts a into 'bob'"),
        ("image,group\n,ann\n", "line 2 names no image"),
        ("image,group\na,\n", "no row with a group"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_groups(table(tmp_path, text))


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_bytes("image,group\na,Zoë\n".encode("utf-16"))
    with pytest.raises(ConfigError, match="UTF-8"):
        open_groups(str(tmp_path / "groups.csv"))


def test_names_that_do_not_fit_the_pool_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_groups(table(tmp_path, "image,group\na,ann\nold,ann\nolder,bob\n")).check(["a", "b", "c"])
    assert "2 of 3 images are not in the pool (old, older)" in caplog.text
    assert "2 of the pool's 3 images have no group" in caplog.text


def test_groups_travel_to_other_processes() -> None:
    """Groups can be pickled: a training on several GPUs sends its task to each."""
    again = pickle.loads(pickle.dumps(read_groups(r"^(p\d)_")))
    assert again.rows(["p1_a", "p1_b"]) == ["group:p1", "group:p1"]
