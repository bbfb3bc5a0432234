"""Workers agree with slow, image-by-image references, and the engine yields their results in batches."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import infers.runtime
from bundle_configs import Bundle
from infers.encoders import make_encoder
from infers.segmentation.task import ModelChangedError, Predictor, model_fingerprint
from pool.imaging.images import ImageError, unit_range
from pool.imaging.prints import print_of
from strategies import selectors
from strategies.engine.local import run_batches
from strategies.engine.worker import Done, Worker
from strategies.engine.workers import EmbedWorker, ForegroundWorker, PrintWorker, ScoreWorker
from tests.volumes import write_volume

FLAT = Bundle("cxr_lungs", {"image_size": 32, "channels": [4, 8]})
SOLID = Bundle("volumes", {"channels": [4, 8], "window": [16, 16, 8]})


def publish(folder: Path, bundle: Bundle) -> Path:
    """Publish a network with random weights."""
    torch.manual_seed(3)
    details = {"bundle": bundle.name, "overrides": bundle.values}
    torch.save({"model": bundle.new("network_def").state_dict(), "details": details}, folder / "model.pt")
    return folder / "model.pt"


def pictures(folder: Path, count: int = 9) -> list[tuple[str, str]]:
    """Write images of several sizes, the fifth unreadable; return ids and paths."""
    for n in range(count):
        pixels = np.random.default_rng(n).integers(0, 255, (40 + n, 36), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    (folder / "4.png").write_bytes(b"no picture")
    return [(str(n), str(folder / f"{n}.png")) for n in range(count)]


def in_batches(images: Sequence[tuple[str, str]], size: int) -> list[Sequence[tuple[str, str]]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


def through_the_engine(make_worker: Any, images: Sequence[tuple[str, str]], size: int = 4) -> dict[str, Done]:
    """Run a pickled worker through the engine, as another process would."""
    there = pickle.loads(pickle.dumps(make_worker))
    batches = list(run_batches(there, in_batches(images, size)))
    found = pickle.loads(pickle.dumps(batches))
    assert [[done.image for done in batch] for batch in found] == [
        [image for image, _ in batch] for batch in in_batches(images, size)
    ]
    return {done.image: done for batch in found for done in batch}


def slowly(predict: Predictor, path: str) -> tuple[float, dict[str, float]]:
    whole = predict(path).numpy()
    classes = selectors.class_entropies(whole)
    named = {f"class {n}": float(value) for n, value in enumerate(classes, 1)}
    return selectors.mean_entropy(whole), {"foreground": float((whole.argmax(axis=0) > 0).mean())} | named


@pytest.mark.parametrize("pays", [0, 1000], ids=["onnx", "torch"])
def test_scores_are_those_of_single_predictions(
    tmp_path: Path, pays: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infers.runtime, "PAYS", pays)
    model, images = publish(tmp_path, FLAT), pictures(tmp_path)
    found = through_the_engine(partial(ScoreWorker, str(model), model_fingerprint(model)), images)
    predict = Predictor(model)
    assert "4.png: cannot be read" in found.pop("4").error and len(found) == 8
    for image, done in found.items():
        entropy, measures = slowly(predict, dict(images)[image])
        assert done.found.entropy == pytest.approx(entropy, rel=1e-5)
        assert done.found.measures == pytest.approx(measures, rel=1e-5)


@pytest.mark.parametrize("pays", [0, 1000], ids=["onnx", "torch"])
def test_scores_of_volumes_are_those_of_single_predictions(
    tmp_path: Path, pays: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infers.runtime, "PAYS", pays)
    images = [(name, str(tmp_path / f"{name}.nii.gz")) for name in "ab"]
    for seed, (_, path) in enumerate(images):
        write_volume(Path(path), seed, (20, 24 + seed, 18))
    model = publish(tmp_path, SOLID)
    found = through_the_engine(partial(ScoreWorker, str(model), model_fingerprint(model)), images, 2)
    for image, path in images:
        entropy, measures = slowly(Predictor(model), path)
        assert found[image].found.entropy == pytest.approx(entropy, rel=1e-5)
        assert found[image].found.measures == pytest.approx(measures, rel=1e-5)


def test_another_model_than_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelChangedError, match="another was published"):
        ScoreWorker(str(publish(tmp_path, FLAT)), "0" * 64)


def test_damaged_weights_are_no_entropy(tmp_path: Path) -> None:
    model = publish(tmp_path, FLAT)
    content = torch.load(model, weights_only=True)
    next(iter(content["model"].values())).fill_(float("nan"))
    torch.save(content, model)
    worker = ScoreWorker(str(model), str(model_fingerprint(model)))
    with pytest.raises(ValueError, match="not finite.*train again"):
        worker(pictures(tmp_path, 5)[:2])


@pytest.mark.parametrize("prints", [True, False])
def test_vectors_are_those_of_the_encoder(tmp_path: Path, prints: bool) -> None:
    images = pictures(tmp_path)
    found = through_the_engine(partial(EmbedWorker, "descriptor", None, FLAT.name, {}, prints), images)
    assert "4.png: cannot be read" in found.pop("4").error
    encoder, arrays = make_encoder("descriptor"), {i: unit_range(p) for i, p in images if i != "4"}
    vectors = np.stack([done.found.vector for done in found.values()])
    np.testing.assert_array_equal(vectors, encoder.embed(list(arrays.values())))
    assert {done.found.key for done in found.values()} == {encoder.key}
    expected = {image: print_of(array) if prints else None for image, array in arrays.items()}
    assert {image: done.found.print for image, done in found.items()} == expected


def test_prints_and_foregrounds(tmp_path: Path) -> None:
    images = pictures(tmp_path)
    prints = through_the_engine(partial(PrintWorker, FLAT.name, {}), images)
    assert prints["0"].found == print_of(unit_range(images[0][1])) and prints["4"].error
    shares = through_the_engine(partial(ForegroundWorker, FLAT.name, {}), images)
    assert 0.4 < shares["0"].found < 0.6 and shares["4"].error


class Watched(Worker):
    """Records its calls in the order of the engine."""

    def __init__(self) -> None:
        self.read_paths: list[str] = []

    def read(self, path: str) -> str:
        self.read_paths.append(path)
        if path == "bad":
            raise ImageError("bad: cannot be read")
        return path


def test_the_engine_holds_two_batches_whatever_their_number() -> None:
    worker, taken = Watched(), 0

    def endless() -> Iterator[list[tuple[str, str]]]:
        nonlocal taken
        while True:
            taken += 1
            yield [(f"{taken}{letter}", f"{taken}{letter}") for letter in "abc"]

    found = run_batches(lambda: worker, endless())
    for number in range(1, 6):
        assert [done.found for done in next(found)] == [f"{number}{letter}" for letter in "abc"]
        assert taken == number + 1
    found.close()  # type: ignore[attr-defined]
    assert len(worker.read_paths) <= 3 * taken


def test_a_batch_of_nothing_readable_and_no_batch_at_all() -> None:
    assert list(run_batches(Watched, [[("a", "bad")]])) == [[Done("a", None, "bad: cannot be read")]]
    assert list(run_batches(Watched, [])) == []


def test_what_breaks_a_worker_breaks_the_pass() -> None:
    class Broken(Watched):
        def look(self, images: Sequence[Any]) -> Sequence[Any]:
            raise MemoryError("no room")

    with pytest.raises(MemoryError):
        list(run_batches(Broken, [[("a", "a")], [("b", "b")]]))
