"""The instant model in the refresh: odd labels, odd images, labels replaced and withdrawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle_configs import Bundle
from infers.instant.model import read_model
from infers.instant.task import InstantInfer
from pool.database.label_checks import NewCheck
from pool.database.state import State
from pool.datastore import PoolDatastore
from pool.errors import PoolError
from strategies.context import Context
from strategies.engine.workers import FeatureWorker
from strategies.instant import drop_encoders, feature_cache, lessons_of
from strategies.measures import FOREGROUND
from strategies.refresh.pipeline import Refresh, missing
from strategies.settings import Settings
from strategies.snapshot import PoolSnapshot
from strategies.stages import status
from strategies.strategy import next_picks

SIZES = [(20, 300), (64, 64), (300, 40)]


class Pool:
    """A folder of images of very different sizes: a bright box to the left, another to the right."""

    def __init__(self, folder: Path, sizes: list[tuple[int, int]] = SIZES, **settings: Any) -> None:
        (folder / "studies").mkdir()
        self.folder, self.bundle, self.truth = folder, Bundle("cxr_lungs"), dict[str, np.ndarray]()
        random = np.random.default_rng(3)
        for n, (height, width) in enumerate(sizes):
            truth = np.zeros((height, width), np.uint8)
            truth[height // 4 : -height // 4, width // 8 : width // 2 - 1] = 1
            truth[height // 4 : -height // 4, width // 2 + 1 : -width // 8] = 2
            grey = 60 + 90 * (truth > 0) + random.normal(0, 12, truth.shape)
            Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / "studies" / f"i{n}.png")
            self.truth[f"i{n}"] = truth
        self.store = PoolDatastore(str(folder / "studies"), self.bundle.get("labels"))
        chosen = Settings(
            cold_start_budget=2, cold_start_method="foreground_cover", projection="pca", **settings
        )
        self.context = Context(State(folder / "state", migrate=True), chosen, "descriptor:1")
        self.refresh()

    @property
    def now(self) -> PoolSnapshot:
        return PoolSnapshot.of(self.context, self.store)

    def refresh(self) -> None:
        while missing(self.context, self.store):
            Refresh(self.context, self.bundle)({}, self.store)

    def label(self, image: str, label: np.ndarray | None = None) -> None:
        mask = self.truth[image] if label is None else label
        Image.fromarray(mask).save(self.folder / "label.png")
        self.store.save_label(image, str(self.folder / "label.png"), "final", {"empty": True})
        self.refresh()

    def predict(self, image: str) -> np.ndarray:
        maker = lessons_of(self.context, self.bundle).maker
        infer = InstantInfer(self.context.state.heads.newest_blob, maker, self.bundle)
        return infer.label(self.store.get_image_uri(image)).T

    def known(self) -> dict[str, Any]:
        """Return what the newest head knows; all its scores are numbers."""
        head = self.context.state.heads.newest()
        assert head is not None
        scores = self.context.state.scores
        shows = scores.measures(head.source)[FOREGROUND]
        assert all(map(math.isfinite, [*scores.entropies(head.source).values(), *shows.values()]))
        assert set(shows) >= set(self.now.unlabelled)
        return {"n": head.n_labels, "shows": shows, **head.facts}

    def reasons(self) -> list[str]:
        return [pick["reason"] for pick in next_picks(self.context, self.store, 5)]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    made = Pool(tmp_path)
    yield made
    made.store.close()


def dice(one: np.ndarray, other: np.ndarray, value: int) -> float:
    return float(
        2 * ((one == value) & (other == value)).sum() / ((one == value).sum() + (other == value).sum())
    )


def test_a_training_is_made_room_for(pool: Pool) -> None:
    """Only while it is on record: otherwise each label would wait for the encoder."""
    pool.label("i0")
    maker = lessons_of(pool.context, pool.bundle).maker
    encoder, predicted = maker.encoder, pool.predict("i1")
    drop_encoders(pool.context)
    assert maker.encoder is encoder
    number = pool.context.state.trainings.start({"model": "segmentation"}, 1)
    drop_encoders(pool.context)
    assert maker.encoder is not encoder and (pool.predict("i1") == predicted).all()
    pool.context.state.trainings.end("DONE", number)
    encoder = maker.encoder
    drop_encoders(pool.context)
    assert maker.encoder is encoder


def test_three_images_of_very_different_sizes(pool: Pool) -> None:
    assert len(feature_cache(pool.context).coarse_images()) == 3
    pool.label("i0")
    assert pool.known()["labels"] == {"right lung": 1, "left lung": 1}
    predicted = pool.predict("i1")
    assert predicted.shape == (64, 64) and min(dice(predicted, pool.truth["i1"], v) for v in (1, 2)) > 0.6
    assert all("1 labelled" in reason for reason in pool.reasons())
    assert (pool.folder / "studies" / "labels" / "original" / "i1.png").exists()


def test_an_empty_label_first(pool: Pool) -> None:
    pool.label("i0", np.zeros_like(pool.truth["i0"]))
    known = pool.known()
    assert known["labels"] == {"right lung": 0, "left lung": 0} and known["dice"] is None
    assert known["shows"]["i0"] == 0 and not pool.predict("i1").any()
    assert "something" in pool.reasons()[0]


def test_one_structure_only_then_the_other(pool: Pool) -> None:
    pool.label("i0", (pool.truth["i0"] == 1).astype(np.uint8))
    assert set(np.unique(pool.predict("i1"))) <= {0, 1}
    pool.label("i1", (pool.truth["i1"] == 2).astype(np.uint8) * 2)
    assert pool.known()["labels"] == {"right lung": 1, "left lung": 1}
    assert set(np.unique(pool.predict("i2"))) <= {0, 1, 2}


def test_a_label_that_is_replaced_or_withdrawn(pool: Pool) -> None:
    pool.label("i0", np.zeros_like(pool.truth["i0"]))
    pool.label("i0")
    assert pool.known()["n"] == 1 and pool.known()["labels"]["left lung"] == 1
    pool.store.remove_label("i0", "final")
    pool.refresh()
    assert pool.context.state.heads.newest() is None
    assert status(pool.context, pool.now)["instant"] is None
    with pytest.raises(PoolError, match="save the first final label"):
        pool.predict("i1")


def test_features_of_images_that_have_changed_or_gone_are_removed(pool: Pool) -> None:
    before = feature_cache(pool.context).coarse_images()
    for image, truth in pool.truth.items():
        Image.fromarray((200 - 90 * (truth > 0)).astype(np.uint8)).save(
            pool.folder / "studies" / f"{image}.png"
        )
    pool.store.refresh()
    pool.refresh()
    now = feature_cache(pool.context).coarse_images()
    assert len(now) == 3 and now.isdisjoint(before)


def test_the_same_labels_give_the_same_head(tmp_path: Path) -> None:
    heads = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made = Pool(tmp_path / name, prelabels=0)
        made.label("i1")
        blob = made.context.state.heads.newest_blob()
        assert blob is not None
        heads.append(read_model(blob).head.members[0])
        made.store.close()
    for one, other in zip(*heads, strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_room_for_features_there_is_still_a_head(tmp_path: Path) -> None:
    made = Pool(tmp_path, [(64, 64)] * 40, instant_gigabytes=0.0003)
    made.label("i1")
    assert feature_cache(made.context).is_full and made.known()["n"] == 1
    assert made.predict("i2").any()
    made.store.close()


def test_a_label_saved_during_a_long_step_is_learnt_from_between_two_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, heads = FeatureWorker.look, list[bool]()

    def look_and_label(worker: FeatureWorker, images: Any) -> Any:
        heads.append(made.context.state.heads.newest() is not None)
        if len(heads) == 1:  # as the server does, which the refresh notices by the check
            Image.fromarray(made.truth["i0"]).save(tmp_path / "label.png")
            made.store.save_label("i0", str(tmp_path / "label.png"), "final", {})
            prints = made.store.label_fingerprints(["i0"])
            made.context.state.label_checks.add([NewCheck("i0", prints["i0"])])
        return look(worker, images)

    monkeypatch.setattr(FeatureWorker, "look", look_and_label)
    monkeypatch.setattr(Pool, "refresh", lambda self: None)
    made = Pool(tmp_path, [(32, 32)] * 60)
    Refresh(made.context, made.bundle)({}, made.store)
    assert heads[0] is False and heads[-1] is True
    made.store.close()


def test_a_prediction_is_dropped_when_its_image_is_labelled_and_reopened_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, infer, offered = Pool(tmp_path, [(64, 64)] * 6), InstantInfer.__call__, list[str]()

    def infer_and_reopen(self: InstantInfer, request: dict[str, Any]) -> Any:
        if not offered:  # as the server does: the label, and what 3D Slicer gets of it
            offered.append(Path(request["image"]).stem)
            Image.fromarray(made.truth[offered[0]]).save(tmp_path / "drawn.png")
            for tag in ("final", "original"):
                made.store.save_label(offered[0], str(tmp_path / "drawn.png"), tag, {"by": "reopened"})
            checked = made.store.label_fingerprints(offered)[offered[0]]
            made.context.state.label_checks.add([NewCheck(offered[0], checked, "")])
        return infer(self, request)

    monkeypatch.setattr(InstantInfer, "__call__", infer_and_reopen)
    made.label("i1")
    assert len(offered) == 1
    assert made.store.get_label_info(offered[0], "original")["by"] == "reopened"
    notes = [made.store.get_label_info(image, "original") for image in made.now.unlabelled]
    assert any(note.get("by") == "prelabel" for note in notes), "others are predicted as before"
    made.store.close()
