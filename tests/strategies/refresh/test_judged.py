"""The pretrained network in refresh: its judgements, their timing, and messages before it exists."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from bundle_configs import Bundle
from infers.csal3d.task import Csal3d
from infers.encoders.pool_encoder import pool_encoder_key
from infers.fingerprints import pretrained_key
from pool.database.state import State
from pool.datastore import PoolDatastore
from strategies.context import Context
from strategies.refresh.judged import judge, to_judge
from strategies.refresh.pipeline import Refresh, missing
from strategies.settings import Settings
from strategies.snapshot import PoolSnapshot
from strategies.stages import stage_of, status
from strategies.strategy import all_strategies
from tests.volumes import write_volume

VALUES = {"pretrain_feature_size": 8, "pretrain_window": 2}
IMAGES = [f"v{n}" for n in range(6)]


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    for n, image in enumerate(IMAGES):
        write_volume(folder / f"{image}.nii.gz", n, (32, 30, 20))
    return folder


@pytest.fixture
def pool(volumes: Path, tmp_path: Path) -> Iterator[tuple[Context, PoolDatastore]]:
    """Return six volumes and a context whose encoder is pretrained on them; nothing is published yet."""
    shutil.copytree(volumes, tmp_path / "studies")
    store = PoolDatastore(str(tmp_path / "studies"), {"thing": 1}, read_only=True)
    state = State(tmp_path / "state", migrate=True)
    yield (
        Context(
            state, Settings(encoder="csal3d", cold_start_budget=3, projection="pca", instant=False), "csal3d"
        ),
        store,
    )


def left(context: Context, store: PoolDatastore) -> dict[str, str]:
    return to_judge(context, PoolSnapshot.of(context, store))


def publish(context: Context, seed: int = 0) -> None:
    """Publish a network with random weights."""
    torch.manual_seed(seed)
    network = Bundle("volumes", VALUES).new("pretrain_network")
    details = {"bundle": "volumes", "overrides": VALUES, "seed": 42}
    torch.save({"model": network.state_dict(), "details": details}, context.pretrained_file)


def refresh(context: Context, store: PoolDatastore) -> list[str]:
    return list(Refresh(context, Bundle("volumes"))({}, store)["steps"])


def ask(context: Context, store: PoolDatastore) -> dict[str, Any]:
    return all_strategies(context)["auto"]({"strategy": "auto"}, store)["selection"]


def test_before_the_pretraining_a_random_image_says_what_to_start(
    pool: tuple[Context, PoolDatastore],
) -> None:
    context, store = pool
    assert missing(context, store) == refresh(context, store) == ["duplicates"]
    assert missing(context, store) == [] and refresh(context, store) == []
    block = ask(context, store)
    assert (block["stage"], block["role"], block["provisional"]) == ("preparing", "provisional", True)
    assert "start the training `pretraining`" in block["reason"]
    assert "not pretrained yet" in status(context, PoolSnapshot.of(context, store))["encoder_note"]


def test_once_published_features_make_the_map_and_uncertainties_are_kept(
    pool: tuple[Context, PoolDatastore],
) -> None:
    context, store = pool
    publish(context)
    assert missing(context, store)[0] == "judge"
    assert refresh(context, store)[0] == "judge"
    assert missing(context, store) == [] and refresh(context, store) == []
    key = pretrained_key(context.pretrained_file)
    assert key is not None and context.encoder_key == context.pretrained_key == key
    values = context.state.scores.entropies(key)
    assert sorted(values) == IMAGES and len(set(values.values())) == 6
    found = Csal3d(context.pretrained_file).judge(store.get_image_uri("v3"))
    assert values["v3"] == found.uncertainty > 0
    assert np.array_equal(context.state.embeddings.vectors(key, ["v3"])[0], found.features)
    layout = context.layout()
    assert layout is not None and layout.images == IMAGES
    assert stage_of(context, PoolSnapshot.of(context, store)) == "cold_start"
    assert ask(context, store)["role"] == "medoid"


def test_a_killed_refresh_repeats_one_image_at_most(pool: tuple[Context, PoolDatastore]) -> None:
    context, store = pool
    publish(context)
    steps = judge(context, store, 1)
    assert [next(steps) for _ in range(3)] == [(0, 6), (1, 6), (2, 6)]
    steps.close()  # as a kill would, before the third image
    assert sorted(left(context, store)) == IMAGES[2:]
    assert [done for done, _ in judge(context, store, 1)] == [0, 1, 2, 3, 4]
    assert left(context, store) == {}


def test_a_changed_file_is_judged_again_and_a_damaged_one_named(pool: tuple[Context, PoolDatastore]) -> None:
    context, store = pool
    publish(context)
    refresh(context, store)
    key = context.pretrained_key
    assert key is not None
    before = context.state.scores.entropies(key)
    write_volume(Path(store.get_image_uri("v1")), 77, (32, 30, 20))
    Path(store.get_image_uri("v2")).write_bytes(b"damaged")
    assert sorted(left(context, store)) == ["v1", "v2"]
    refresh(context, store)
    after = context.state.scores.entropies(key)
    assert after["v1"] != before["v1"] and after["v0"] == before["v0"]
    assert "v2.nii.gz" in context.state.failures.all()["v2"][1]
    assert left(context, store) == {}, "tried again when the file changes"


def test_another_network_is_another_encoder(pool: tuple[Context, PoolDatastore]) -> None:
    context, store = pool
    publish(context)
    steps = judge(context, store, 1)
    next(steps)
    publish(context, seed=1)
    assert list(steps) == [], "ends when another one is published"
    first = context.encoder_key
    refresh(context, store)
    publish(context, seed=2)
    assert context.encoder_key != first and sorted(left(context, store)) == IMAGES
    assert context.layout() is None


def test_with_another_encoder_the_volumes_are_judged_all_the_same(
    pool: tuple[Context, PoolDatastore],
) -> None:
    context, store = pool
    context = replace(
        context, settings=replace(context.settings, encoder="descriptor"), fixed_encoder_key="d"
    )
    marks = left(context, store)
    assert marks == {}
    publish(context)
    assert sorted(left(context, store)) == IMAGES and context.encoder_key == "d"
    assert "embed" in missing(context, store) and "judge" in missing(context, store)


def test_volumes_with_other_channels_come_back_when_the_app_is_told(tmp_path: Path) -> None:
    """A server forgets failures at its start, so restarting it with in_channels makes them readable."""
    (tmp_path / "studies").mkdir()
    for n in range(3):
        volume = np.random.default_rng(n).random((20, 20, 20, 2))
        nibabel.nifti1.save(
            nibabel.nifti1.Nifti1Image(volume, np.eye(4)), tmp_path / "studies" / f"v{n}.nii.gz"
        )
    store = PoolDatastore(str(tmp_path / "studies"), {"thing": 1}, read_only=True)
    one, two = Bundle("volumes"), Bundle("volumes", {"in_channels": 2})
    settings = Settings(cold_start_budget=2, projection="pca")
    key = pool_encoder_key("descriptor", None, one)
    context = Context(State(tmp_path / "state", migrate=True), settings, key)
    Refresh(context, one)({}, store)
    assert len(PoolSnapshot.of(context, store).failed) == 3 and context.layout() is None
    assert missing(context, store) == [], "nothing is tried for ever"
    context.state.failures.forget()
    Refresh(context, two)({}, store)
    assert not PoolSnapshot.of(context, store).failed and ask(context, store)["role"] == "medoid"


def test_a_network_that_sees_other_channels_is_refused_and_not_the_images(
    pool: tuple[Context, PoolDatastore],
) -> None:
    context, store = pool
    publish(context)
    with pytest.raises(ValueError, match="1 channels, the app is set to 2: train again, or start"):
        next(judge(context, store, 2))
    assert not PoolSnapshot.of(context, store).failed and sorted(left(context, store)) == IMAGES
