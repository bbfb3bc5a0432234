"""Passes over a pool: kills, unreadable images, and a model published meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import strategies.engine.image_pass
from bundle_configs import Bundle
from infers.encoders.descriptor import Descriptor
from infers.segmentation.task import Predictor, model_fingerprint
from pool.imaging.images import image_fingerprint
from strategies import selectors
from strategies.engine.image_pass import ImagePass
from strategies.engine.local import run_batches
from strategies.engine.worker import Done, Worker
from strategies.refresh.embedding import embed, to_embed
from strategies.refresh.following import follow_model
from strategies.selectors.registry import METHODS

BUNDLE = Bundle("cxr_lungs", {"image_size": 32, "channels": [4, 8]})


class Lengths(Worker):
    """Computes the length of each path."""

    def read(self, path: str) -> int:
        return len(path)


def publish(world: Any, seed: int) -> str:
    torch.manual_seed(seed)
    details = {"bundle": BUNDLE.name, "overrides": BUNDLE.values, "labelled": world.pool.labelled}
    file = world.context.model_file
    torch.save({"model": BUNDLE.new("network_def").state_dict(), "details": details}, file)
    return str(model_fingerprint(file))


def use_the_real_encoder(world: Any) -> None:
    world.context = replace(world.context, fixed_encoder_key=Descriptor.key)


def test_a_kill_repeats_one_batch_at_most_and_loses_none(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies.engine.image_pass, "BATCH", 3)
    use_the_real_encoder(world)
    looked: list[str] = []

    def dying(make_worker: Any, batches: Any) -> Iterator[list[Done]]:
        for found in run_batches(make_worker, batches):
            looked.extend(done.image for done in found)
            if len(looked) == 9:
                raise KeyboardInterrupt  # these were looked at, and are not kept
            yield found

    with pytest.raises(KeyboardInterrupt):
        embed(ImagePass(world.context, world.store, dying), BUNDLE)
    left = to_embed(world.context, world.pool)
    assert len(looked) == 9 and left == world.images[6:]
    embed(ImagePass(world.context, world.store), BUNDLE)
    assert to_embed(world.context, world.pool) == []
    assert world.context.state.embeddings.vectors(Descriptor.key, world.images).shape[0] == len(world.images)


def test_answers_may_come_in_any_order(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies.engine.image_pass, "BATCH", 5)

    def backwards(make_worker: Any, batches: Any) -> Iterator[list[Done]]:
        worker = make_worker()
        yield from ([done for done in worker(batch)[::-1]] for batch in list(batches)[::-1])

    passes = ImagePass(world.context, world.store, backwards)
    found = [each for batch in passes.run("lengths", world.images, Lengths) for each in batch]
    assert [each.image for each in found] == world.images[::-1]
    for each in found:
        path = world.store.get_image_uri(each.image)
        assert (each.fingerprint, each.value) == (image_fingerprint(path), len(path))
    progress = world.context.state.progress.get()
    assert (progress["step"], progress["done"], progress["total"]) == ("lengths", 12, 12)


def test_what_cannot_be_read_is_a_failure_and_what_is_gone_is_none(world: Any) -> None:
    use_the_real_encoder(world)
    bad, gone = world.images[2], world.images[5]
    Path(world.store.get_image_uri(bad)).write_bytes(b"no picture")
    Path(world.store.get_image_uri(gone)).unlink()
    embed(ImagePass(world.context, world.store), BUNDLE)
    assert set(world.context.state.failures.all()) == {bad}
    assert set(world.context.state.embeddings.fingerprints(Descriptor.key)) == set(world.images) - {bad, gone}


def test_a_model_that_is_published_meanwhile_is_followed(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies.engine.image_pass, "BATCH", 2)
    world.prepare()
    world.label(*world.cold)
    first, models = publish(world, 1), []

    def training_meanwhile(make_worker: Any, batches: Any) -> Iterator[list[Done]]:
        for number, found in enumerate(run_batches(make_worker, batches)):
            if number == 1 and not models:
                models.append(publish(world, 2))
            yield found

    follow_model(ImagePass(world.context, world.store, training_meanwhile), BUNDLE)
    state, unlabelled = world.context.state, set(world.pool.unlabelled)
    assert [model.fingerprint for model in state.models.all()] == [models[0], first]
    assert len(state.scores.entropies(first)) == 4, "two batches, and then it was left"
    assert set(state.scores.entropies(models[0])) == unlabelled
    image, predict = min(unlabelled), Predictor(world.context.model_file)
    expected = selectors.mean_entropy(predict(world.store.get_image_uri(image)).numpy())
    assert state.scores.entropies(models[0])[image] == pytest.approx(expected, rel=1e-5)
    assert world.context.newest_plan(METHODS["active"], 0.3)[0].fingerprint == models[0]


def test_a_model_that_is_published_before_its_worker_starts_is_followed(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.prepare()
    world.label(*world.cold)
    publish(world, 1)
    models: list[str] = []

    def training_before(make_worker: Any, batches: Any) -> Iterator[list[Done]]:
        if not models:
            models.append(publish(world, 2))
        return run_batches(make_worker, batches)

    follow_model(ImagePass(world.context, world.store, training_before), BUNDLE)
    assert set(world.context.state.scores.entropies(models[0])) == set(world.pool.unlabelled)
