"""Training: reproducible, from scratch, on usable images, published atomically."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from bundle_configs import Bundle
from pool.datastore import PoolDatastore
from pool.groups import Groups
from pool.imaging.names import image_id
from trainers.segmentation.task import SegmentationTrain

BUNDLE = Bundle("cxr_lungs", {"image_size": 32, "channels": [4, 8]})
REQUEST = {"max_epochs": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolDatastore]:
    """Return a store of five images; all but `e` have a final label, that of `d` is damaged afterwards."""
    folder = tmp_path_factory.mktemp("studies")
    rng = np.random.default_rng(0)
    for name in "abcde":
        Image.fromarray(rng.integers(0, 255, (40, 36), dtype=np.uint8)).save(folder / f"{name}.png")
    store = PoolDatastore(str(folder), BUNDLE.get("labels"))
    for n, name in enumerate("abcd"):
        mask = np.zeros((40, 36), np.uint8)
        mask[5 : 20 + n, 3:15], mask[10:30, 20 + n : 33] = 1, 2
        Image.fromarray(mask).save(folder.parent / "mask.png")
        store.save_label(name, str(folder.parent / "mask.png"), "final", {})
    store.close()
    Path(store.get_label_uri("d", "final")).write_bytes(b"damaged")
    yield store


def train(folder: Path, store: PoolDatastore, seed: int = 42, **request: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    task = SegmentationTrain(folder, BUNDLE, seed)
    task(REQUEST | request, store)
    return torch.load(folder / "model.pt", weights_only=True)


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return all(torch.equal(value, two["model"][name]) for name, value in one["model"].items())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, store: PoolDatastore) -> dict[str, Any]:
    """Train once with seed 42."""
    return train(tmp_path_factory.mktemp("first"), store)


def test_same_seed_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path, store: PoolDatastore, published: dict[str, Any]
) -> None:
    torch.rand(7)  # what happened before does not matter
    assert same(published, train(tmp_path / "again", store))
    assert not same(published, train(tmp_path / "other", store, seed=43))
    assert same(
        train(tmp_path / "asked", store, seed=1, max_epochs=1), train(tmp_path / "1", store, 1, max_epochs=1)
    )


def test_training_changes_the_weights_it_starts_from(
    tmp_path: Path, store: PoolDatastore, published: dict[str, Any]
) -> None:
    assert not same(published, train(tmp_path, store, max_epochs=1))


def test_second_round_never_starts_from_the_first(
    tmp_path: Path, store: PoolDatastore, published: dict[str, Any]
) -> None:
    for seed in (43, 42):  # the folder already holds a model of another seed
        last = train(tmp_path, store, seed)
    assert same(published, last)


def test_published_file_says_what_it_is(published: dict[str, Any]) -> None:
    details = published["details"]
    assert details["images"] == ["a", "b", "c"], "d has a damaged label, e none"
    assert (details["seed"], details["epochs"], details["bundle"]) == (42, 2, "cxr_lungs")
    assert details["overrides"] == {"image_size": 32, "channels": [4, 8]}
    assert details["labels"] == {"right lung": 1, "left lung": 2}
    assert 0 < details["metrics"]["train_loss"] < 10
    assert details["versions"]["torch"] == torch.__version__ and details["threads"] >= 1


def test_published_weights_fit_the_network(published: dict[str, Any]) -> None:
    BUNDLE.new("network_def").load_state_dict(published["model"])


def test_pair_that_cannot_be_read_is_named_and_left_out(
    tmp_path: Path, store: PoolDatastore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="trainers.segmentation.task"):
        pairs = SegmentationTrain(tmp_path, BUNDLE, 42).pre_process({}, store)
    assert [Path(p["image"]).stem for p in pairs] == ["a", "b", "c"]
    (message,) = [r.getMessage() for r in caplog.records if r.name == "trainers.segmentation.task"]
    assert message.startswith("Not trained on: ") and "labels/final/d.png" in message


def test_nothing_to_train_on_is_refused_and_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    Image.fromarray(np.eye(40, dtype=np.uint8)).save(tmp_path / "studies" / "a.png")
    empty = PoolDatastore(str(tmp_path / "studies"), BUNDLE.get("labels"))
    empty.close()
    with pytest.raises(RuntimeError, match="no usable final label.*save labels first"):
        train(tmp_path / "state", empty)
    assert not (tmp_path / "state" / "model.pt").exists()


def test_one_training_at_a_time(tmp_path: Path, store: PoolDatastore) -> None:
    with FileLock(tmp_path / "training.lock"), pytest.raises(RuntimeError, match="another training"):
        train(tmp_path, store)
    assert not (tmp_path / "model.pt").exists()


def test_failed_training_leaves_the_last_model_as_it_was(
    tmp_path: Path, store: PoolDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pt").write_bytes(b"the last one")

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(Exception, match="no space left"):
        SegmentationTrain(tmp_path, BUNDLE, 42)(REQUEST | {"max_epochs": 1}, store)
    assert (tmp_path / "model.pt").read_bytes() == b"the last one"


@pytest.mark.parametrize(
    ("path", "name"),
    [("/s/a.png", "a"), ("/s/a.b.nii.gz", "a.b"), ("/s/A.JPEG", "A"), ("/s/1.2.840", "1.2")],
)
def test_image_id_is_the_name_without_extension(path: str, name: str) -> None:
    assert image_id(path) == name


def test_a_validation_split_never_cuts_a_patient_and_is_seeded(tmp_path: Path, store: PoolDatastore) -> None:
    groups = Groups(names={"a": "ann", "c": "ann"})
    for seed in range(4):
        task = SegmentationTrain(tmp_path / str(seed), BUNDLE, seed, groups=groups)
        task.folder.mkdir()
        task(REQUEST | {"max_epochs": 1, "val_split": 0.5}, store)
        details = torch.load(task.folder / "model.pt", weights_only=True)["details"]
        assert sorted([details["images"], details["validated"]]) == [["a", "c"], ["b"]]
        assert details["labelled"] == ["a", "b", "c", "d"] and "val_mean_dice" in details["metrics"]


def test_with_a_split_the_last_epoch_is_published_and_validation_changes_nothing(
    tmp_path: Path, store: PoolDatastore
) -> None:
    split = train(tmp_path / "split", store, val_split=0.3, max_epochs=3)
    left = split["details"]["images"]
    assert len(left) == 2 and split["details"]["epochs"] == 3
    pairs = [{"image": store.get_image_uri(i), "label": store.get_label_uri(i, "final")} for i in left]
    assert same(split, train(tmp_path / "given", store, train_ds=pairs, val_ds=pairs[:1], max_epochs=3))


@pytest.mark.parametrize("share", [0.99, 1.5, -1])
def test_a_split_that_leaves_nothing_is_refused(tmp_path: Path, store: PoolDatastore, share: float) -> None:
    with pytest.raises(RuntimeError, match="val_split .* of 3 patients"):
        train(tmp_path / "m", store, val_split=share)
    assert not (tmp_path / "m" / "model.pt").exists()
