"""Files that are written whole or not at all, and the archive of a pool."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest

from pool.dataset_archive import write_archive
from pool.dicomweb.client import SeriesError, ServerError
from pool.errors import PoolError
from pool.files import clean_cache, fill_folder, remove_leftovers, replacing


def test_a_failed_write_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.nii.gz"
    with replacing(target) as part:
        assert part.name.endswith("a.nii.gz"), "libraries look at the extension"
        part.write_bytes(b"first")
    with pytest.raises(OSError, match="full"), replacing(target) as part:
        part.write_bytes(b"half")
        raise OSError("full")
    assert target.read_bytes() == b"first" and list(target.parent.iterdir()) == [target]


def test_a_folder_is_filled_once_and_whole(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "one").write_bytes(b"1")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill_folder(tmp_path / "series", fail)
    assert list(tmp_path.iterdir()) == []
    folder = fill_folder(tmp_path / "series", lambda folder: (folder / "one").write_text("1") and None)
    assert fill_folder(folder, fail) == folder and [f.name for f in folder.iterdir()] == ["one"]


def test_only_our_leftovers_are_removed(tmp_path: Path) -> None:
    ours, theirs = tmp_path / f".{'a' * 32}.tmp-model.pt", tmp_path / ".part-of-my-collection"
    ours.write_bytes(b"half"), theirs.mkdir()
    remove_leftovers(tmp_path, tmp_path / "nothing here")
    assert list(tmp_path.iterdir()) == [theirs]
    (tmp_path / "cache" / "deep" / f".{'b' * 32}.tmp-series").mkdir(parents=True)
    (tmp_path / "cache" / ".part-7-ab-images.json").write_bytes(b"of a former version")
    clean_cache(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").rglob("*")] == ["deep"]


def test_a_pair_that_is_removed_meanwhile_is_left_out_of_the_archive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    pairs = [{"image": str(tmp_path / "a.png"), "label": str(tmp_path / "b.png")}]
    gone = {"image": str(tmp_path / "b.png"), "label": str(tmp_path / "gone.png")}
    with zipfile.ZipFile(write_archive([gone, *pairs], json.dumps({}))) as archive:
        assert sorted(archive.namelist()) == ["image/a.png", "label/b.png", "metadata.json"]
        assert archive.read("image/a.png") == b"a.png" and archive.testzip() is None
    assert "gone.png" in caplog.text
    with pytest.raises(PoolError, match="nothing is labelled") as refused:
        write_archive([gone], "{}")
    assert refused.value.status == 404


def test_errors_keep_their_text_between_processes() -> None:
    for error in (PoolError(409, "taken"), ServerError(503, "down"), SeriesError("damaged")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.status, str(again)) == (type(error), error.status, str(error))
