"""Training in several processes, as MONAI Label starts them for several GPUs; here two, on the CPU."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from ignite.engine import Engine, Events
from monailabel.tasks.train.basic_train import Context
from PIL import Image

from bundle_configs import Bundle
from pool.database.state import State
from pool.datastore import PoolDatastore
from trainers.segmentation.task import SegmentationTrain

# what one process normalises by depends on its own images in a batch norm, so the comparison has none;
# nor Adam, whose first step is the sign of a gradient, be it a rounding error
OVERRIDES: dict[str, Any] = {
    "image_size": 32,
    "dropout": 0.0,
    "network_def": {
        "_target_": "monai.networks.nets.UNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 3,
        "channels": [4, 8],
        "strides": [2],
        "norm": "INSTANCE",
    },
    "optimizer": {"_target_": "torch.optim.SGD", "_mode_": "callable", "lr": 0.1},
}
TWO = {"device": "cpu", "multi_gpu": True, "gpus": "0,1", "train_batch_size": 1}


class Watched(SegmentationTrain):
    """Trainer whose processes save their final state."""

    def finalize(self, context: Context) -> None:
        super().finalize(context)
        context.trainer.add_event_handler(Events.COMPLETED, self.note, context)

    def note(self, engine: Engine, context: Context) -> None:
        loader = engine.state.dataloader
        found = {
            "weights": context.network.module.state_dict(),
            "images": list(loader.sampler),
            "chance": [torch.rand(1).item(), loader.generator.initial_seed()],
        }
        torch.save(found, self.folder / f"rank{context.local_rank}.pt")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PoolDatastore:
    """Return a store with two labelled images."""
    folder = tmp_path_factory.mktemp("studies")
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 255, (40, 36), dtype=np.uint8)).save(folder / f"{name}.png")
    store = PoolDatastore(str(folder), Bundle("cxr_lungs").get("labels"))
    for n, name in enumerate("ab"):
        mask = np.zeros((40, 36), np.uint8)
        mask[5 : 20 + 9 * n, 3:15], mask[10:30, 20 + 5 * n : 33] = 1, 2
        Image.fromarray(mask).save(folder.parent / "mask.png")
        store.save_label(name, str(folder.parent / "mask.png"), "final", {})
    store.close()
    return store


def train(task: type[SegmentationTrain], folder: Path, request: dict[str, Any], store: PoolDatastore) -> dict:
    folder.mkdir()
    held_out = State(folder, migrate=True).marks.held_out
    task(folder, Bundle("cxr_lungs", OVERRIDES), 42, held_out)({"max_epochs": 1} | request, store)
    return torch.load(folder / "model.pt", weights_only=True)


def test_two_processes_are_one_with_both_images(
    store: PoolDatastore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One step with an image per process equals one with both images in a batch."""
    two = train(Watched, tmp_path / "two", TWO, store)
    assert capfd.readouterr().err.count("Published ") == 1
    ranks = [torch.load(tmp_path / "two" / f"rank{n}.pt", weights_only=True) for n in (0, 1)]
    assert sorted(ranks[0]["images"] + ranks[1]["images"]) == [0, 1], "each has its share"
    assert ranks[0]["chance"][0] != ranks[1]["chance"][0], "dropout differs"
    assert [rank["chance"][1] for rank in ranks] == [42, 43], "so do random transforms, from the seed"
    for name, value in two["model"].items():
        assert torch.equal(value, ranks[0]["weights"][name]) and torch.equal(value, ranks[1]["weights"][name])
    assert len(list((tmp_path / "two" / "training").glob("events_*/*"))) == 1
    assert two["details"]["world_size"] == 2 and two["details"]["images"] == ["a", "b"]

    one = train(SegmentationTrain, tmp_path / "one", {"device": "cpu", "train_batch_size": 2}, store)
    assert one["details"]["world_size"] == 1 and two["model"].keys() == one["model"].keys()
    torch.manual_seed(42)
    start = Bundle("cxr_lungs", OVERRIDES).new("network_def").state_dict()
    for name, value in one["model"].items():
        torch.testing.assert_close(two["model"][name], value, rtol=1e-5, atol=1e-6)
    assert max((value - start[name]).abs().max() for name, value in one["model"].items()) > 1e-3
    assert two["details"]["metrics"]["train_loss"] == pytest.approx(
        one["details"]["metrics"]["train_loss"], rel=1e-5
    )


def test_a_killed_process_ends_the_training_with_an_error(
    store: PoolDatastore, tmp_path: Path, long: bool
) -> None:
    if not long:
        pytest.skip("only in the long form: two more processes import everything")
    (tmp_path / "model.pt").write_bytes(b"the last one")
    ended = threading.Event()

    def kill_one() -> None:
        while not ended.wait(0.2):
            children = psutil.Process().children()
            ranks = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
            if len(ranks) == 2 and (tmp_path / "train_stats.json").exists():
                max(ranks, key=lambda rank: rank.create_time()).kill()
                return

    killer = threading.Thread(target=kill_one)
    killer.start()
    began = time.monotonic()
    task = SegmentationTrain(tmp_path, Bundle("cxr_lungs", {"image_size": 32, "channels": [4, 8]}), 42)
    try:
        with pytest.raises(RuntimeError, match="one of the training's processes failed.*last model stays"):
            task(TWO | {"max_epochs": 100_000}, store)
    finally:
        ended.set()
        killer.join()
    assert time.monotonic() - began < 120
    assert (tmp_path / "model.pt").read_bytes() == b"the last one"
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
