"""Files that are found: DICOM by its mark, subfolders on request, and what is not read is named."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pool.datastore import PoolDatastore
from pool.errors import PoolError
from pool.imaging.digests import label_digest
from pool.imaging.images import read_image
from pool.label_states import Verdict
from pool.protocol import LabelCheck
from tests.ct_series import write_series

LABELS = {"lung": 1}


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (32, 24), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).integers(0, 900, (20, 24, 1)).astype(np.int16)
    return next(write_series(tmp_path / "series", voxels, np.diag([1.0, 1, 1, 1])).glob("*.dcm"))


def test_dicom_is_found_by_its_mark(tmp_path: Path, dicom: Path) -> None:
    studies = tmp_path / "studies"
    picture(studies / "a.png", 1)
    for name in ("IM0001", "b.dicom", "c.IMA", "1.2.840.1"):
        shutil.copy(dicom, studies / name)
    (studies / "README").write_text("no image")
    (studies / "list.csv").write_text("a,b")
    store = PoolDatastore(str(studies), LABELS)
    assert store.list_images() == ["1.2.840.1", "IM0001", "a", "b", "c"]
    for image in ("1.2.840.1", "IM0001", "b", "c"):
        assert read_image(store.get_image_uri(image))[0].shape == (20, 24)
    assert store.ignored_files == "2 files are no images (README, list.csv)"
    (studies / "README").unlink()
    shutil.copy(dicom, studies / "README")
    store.refresh()
    assert "README" in store.list_images()
    store.close()


def test_subfolders_are_named_or_read(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    picture(studies / "a.png", 1)
    picture(studies / "patient1" / "a.png", 2)
    picture(studies / "patient1" / "day 2" / "b.png", 3)
    store = PoolDatastore(str(studies), LABELS)
    assert store.list_images() == ["a"]
    assert store.ignored_files == ("1 subfolder is not read (patient1/): --conf recursive true reads them")
    store.close()
    store = PoolDatastore(str(studies), LABELS, recursive=True)
    assert store.list_images() == ["a", "patient1/a", "patient1/day 2/b"] and not store.ignored_files
    picture(studies / "patient2" / "c.png", 4)
    store.take_over_changes()
    assert store.list_images()[-1] == "patient2/c"
    store.close()


def test_labels_of_images_in_subfolders_are_kept_with_their_versions(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    picture(studies / "a.png", 1)
    picture(studies / "p" / "a.png", 2)
    mask, other = tmp_path / "mask.png", tmp_path / "other.png"
    Image.fromarray(np.eye(32, 24, dtype=np.uint8)).save(mask)
    Image.fromarray(np.ones((32, 24), dtype=np.uint8)).save(other)
    store = PoolDatastore(str(studies), LABELS, recursive=True)
    store.save_label("p/a", str(mask), "final", {})
    store.save_label("p/a", str(other), "final", {})
    assert store.get_labeled_images() == ["p/a"]
    assert Path(store.get_label_uri("p/a", "final")) == (studies / "labels/final/p/a.png").resolve()
    assert (studies / "versions/final/p/a.1.png").read_bytes() == mask.read_bytes()
    assert store.datalist() == [
        {"image": store.get_image_uri("p/a"), "label": store.get_label_uri("p/a", "final")}
    ]
    store.close()
    store = PoolDatastore(str(studies), LABELS, recursive=True)
    assert store.get_labeled_images() == ["p/a"] and store.list_images() == ["a", "p/a"]
    store.remove_label("p/a", "final")
    assert not store.get_labeled_images()
    assert sorted(path.name for path in (studies / "versions/final/p").glob("*.png")) == [
        "a.1.png",
        "a.2.png",
    ]
    store.close()


def test_masks_of_255_are_read_where_they_can_mean_one_structure_only(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    picture(studies / "a.png", 1)
    (studies / "labels" / "final").mkdir(parents=True)
    mask = np.zeros((32, 24), np.uint8)
    mask[4:20, 3:9] = 255
    Image.fromarray(mask).save(studies / "labels" / "final" / "a.png")
    store = PoolDatastore(str(studies), LABELS, trusts_files=False)
    assert store.check_label("a").reason == ""
    store.close()
    store = PoolDatastore(str(studies), {"left": 1, "right": 2}, trusts_files=False)
    assert "scan-selection labels fix --map 255=1" in store.check_label("a").reason
    before = (studies / "labels" / "final" / "a.png").read_bytes()
    assert store.rewrite_label("a", {255: 2})
    assert store.check_label("a").reason == ""
    written = np.array(Image.open(studies / "labels" / "final" / "a.png"))
    np.testing.assert_array_equal(written, (mask > 0) * 2)
    assert (studies / "versions" / "final" / "a.1.png").read_bytes() == before
    assert store.rewrite_label("a", {255: 2}) is False, "there is nothing to write any more"
    store.close()


def test_a_label_that_equals_a_prediction_counts_once_it_is_confirmed(tmp_path: Path) -> None:
    studies, mask = tmp_path / "studies", tmp_path / "mask.png"
    for number, name in enumerate("abc"):
        picture(studies / f"{name}.png", number + 1)
    Image.fromarray(np.eye(32, 24, dtype=np.uint8)).save(mask)
    known = label_digest(np.eye(32, 24, dtype=np.uint8).T)

    def judge(image: str, digest: str, label: np.ndarray) -> Verdict:
        return Verdict("unedited", "as predicted") if digest == known else Verdict("edited")

    def opened(**more: Any) -> PoolDatastore:
        return PoolDatastore(str(studies), LABELS, trusts_files=False, judge=judge, **more)

    store = opened()
    store.save_label("a", str(mask), "final", {"state": "edited"})  # what a client calls it does not matter
    store.save_label("b", str(mask), "final", {"confirmed": True})
    store.save_label("c", str(mask), "original", {})
    assert store.get_labeled_images() == ["b"] and store.unedited_labels == {"a"}
    assert store.datalist()[0]["image"].endswith("b.png") and len(store.datalist()) == 1
    states = [store.get_label_info(image, "final")["state"] for image in "ab"]
    assert states == ["unedited", "confirmed"] and store.label_version("a") == 1
    store.close()
    for _ in range(2):
        store, reader = opened(), opened(read_only=True)
        assert store.unedited_labels == reader.unedited_labels == {"a"}, "kept with the label"
        check = LabelCheck(1, "a", store.label_fingerprints(["a"])["a"], "", "confirmed")
        for one in (store, reader):
            one.take_in_checks([check])
            one.refresh()
            assert one.get_labeled_images() == ["a", "b"] and not one.unedited_labels
        store.close()
    store = opened(counts_unedited=True)
    assert store.get_labeled_images() == ["a", "b"]
    Image.fromarray(np.eye(32, 24, k=3, dtype=np.uint8)).save(mask)
    store.save_label("a", str(mask), "final", {})
    assert store.get_label_info("a", "final")["state"] == "edited" and store.label_version("a") == 2
    store.close()


def test_an_empty_label_that_is_saved_twice_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies, mask = tmp_path / "studies", tmp_path / "mask.png"
    picture(studies / "a.png", 1)
    Image.fromarray(np.zeros((32, 24), np.uint8)).save(mask)
    store, monotonic = PoolDatastore(str(studies), LABELS), time.monotonic
    for client, later in (("ann", 0), ("bob", 1), ("ann", 700)):
        monkeypatch.setattr(time, "monotonic", lambda later=later: monotonic() + later)
        with pytest.raises(PoolError, match="again within ten minutes"):
            store.save_label("a", str(mask), "final", {"client_id": client})
    assert not store.get_labeled_images()
    store.save_label("a", str(mask), "final", {"client_id": "ann"})
    assert store.get_labeled_images() == ["a"] and store.check_label("a").reason == ""
    info = store.get_label_info("a", "final")
    assert (info["state"], info["empty"]) == ("empty", True)
    Image.fromarray(np.eye(32, 24, dtype=np.uint8)).save(mask)
    store.save_label("a", str(mask), "final", {"client_id": "ann"})
    assert store.get_label_info("a", "final").get("empty") is None
    store.close()


def test_empty_labels_may_be_accepted_from_the_start(tmp_path: Path) -> None:
    studies, mask = tmp_path / "studies", tmp_path / "mask.png"
    picture(studies / "a.png", 1)
    Image.fromarray(np.zeros((32, 24), np.uint8)).save(mask)
    store = PoolDatastore(str(studies), LABELS, accepts_empty=True)
    store.save_label("a", str(mask), "final", {})
    assert store.get_label_info("a", "final")["state"] == "empty" and store.check_label("a").reason == ""
    store.close()


@pytest.mark.parametrize("mode", [0o2770, 0o755])
def test_labels_take_mode_and_group_of_their_folder(tmp_path: Path, mode: int) -> None:
    """So that several accounts can work on them, whatever the server's umask is."""
    studies, final = tmp_path / "studies", tmp_path / "studies/labels/final"
    picture(studies / "p" / "a.png", 1)
    final.mkdir(parents=True)
    groups = [4242] if os.geteuid() == 0 else [group for group in os.getgroups() if group != os.getegid()]
    group = (groups or [os.getegid()])[0]
    os.chown(final, -1, group)
    final.chmod(mode)
    label = tmp_path / "label.png"
    Image.fromarray(np.ones((32, 24), np.uint8)).save(label)
    label.chmod(0o600)
    before = os.umask(0o077)
    try:
        store = PoolDatastore(str(studies), LABELS, recursive=True)
        for tag in ("final", "final", "original"):
            store.save_label("p/a", str(label), tag, {})
        store.close()
    finally:
        os.umask(before)
    assert os.umask(before) == before, "that of the process stays"
    files = [path for path in (studies / "versions" / "final").rglob("*") if path.is_file()]
    assert len(files) == 2, "a label and the note on it"
    files += [final / "p" / "a.png", studies / "labels/original/p/a.png"]
    for path in files:
        assert (oct(path.stat().st_mode & 0o7777), path.stat().st_gid) == (oct(mode & 0o666), group), path
    folder = (final / "p").stat()
    assert (oct(folder.st_mode & 0o7777), folder.st_gid) == (oct(mode), group)
