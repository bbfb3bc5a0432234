"""Pretraining: statistics, refusals, and resuming after kills, exact to the last bit."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from bundle_configs import Bundle
from infers.segmentation.task import model_fingerprint
from pool.datastore import PoolDatastore
from tests.volumes import write_volume
from trainers.csal3d.checks import check_pretraining
from trainers.csal3d.task import Pretraining

SMALL = {
    "pretrain_feature_size": 8,
    "pretrain_window": 2,
    "pretrain_iterations": 4,
    "pretrain_checkpoint_every": 1,
}
REQUEST = {"device": "cpu"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolDatastore]:
    """Return three volumes, and `c`, which is damaged."""
    folder = tmp_path_factory.mktemp("studies")
    for n, name in enumerate("abd"):
        write_volume(folder / f"{name}.nii.gz", n)
    (folder / "c.nii.gz").write_bytes(b"damaged")
    yield opened(folder)


def opened(folder: Path) -> PoolDatastore:
    return PoolDatastore(str(folder), {"thing": 1}, read_only=True)


def pretrain(folder: Path, store: PoolDatastore, seed: int = 42, **request: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    Pretraining(folder, Bundle("volumes", SMALL), seed)(REQUEST | request, store)
    return torch.load(folder / "pretrained.pt", weights_only=True)


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return all(torch.equal(value, two["model"][name]) for name, value in one["model"].items())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, store: PoolDatastore) -> dict[str, Any]:
    """Run one uninterrupted pretraining."""
    folder = tmp_path_factory.mktemp("first")
    found = pretrain(folder, store)
    return found | {"folder": folder}


def test_published_file_says_how_it_came_about(published: dict[str, Any]) -> None:
    details = published["details"]
    assert details["trained_on"] == ["a", "b", "d"], "c is damaged"
    assert details["images"] == ["a", "b", "c", "d"]
    assert (details["seed"], details["iterations"], details["bundle"]) == (42, 4, "volumes")
    assert details["losses"] == ["inpainting", "rotation", "consistency"]
    assert [point["iteration"] for point in details["curve"]] == [1, 2, 3, 4]
    for point in details["curve"]:
        parts = sum(point[name] for name in details["losses"])
        assert point["total"] == pytest.approx(parts) and all(point[n] > 0 for n in details["losses"])
    assert details["versions"]["torch"] == torch.__version__ and details["threads"] >= 1
    Bundle(details["bundle"], details["overrides"]).new("pretrain_network").load_state_dict(
        published["model"]
    )
    assert len(str(model_fingerprint(published["folder"] / "pretrained.pt"))) == 64
    assert not (published["folder"] / "pretraining" / "checkpoint.pt").exists(), "of no use any more"


def test_statistics_tell_how_far_it_is(published: dict[str, Any]) -> None:
    stats = Pretraining(published["folder"], Bundle("volumes", SMALL), 42).stats()
    assert (stats["epoch"], stats["total_epochs"], stats["seconds_left"]) == (4, 4, 0.0)
    assert stats["train"]["metrics"].keys() == {"inpainting", "rotation", "consistency", "total"}


def test_statistics_before_the_first_run_are_empty(tmp_path: Path) -> None:
    assert Pretraining(tmp_path, Bundle("volumes"), 42).stats() == {}


SCRIPT = """
import sys, torch
from pathlib import Path
torch.set_num_threads({threads})
from tests.trainers.csal3d.test_task import opened, pretrain
pretrain(Path(sys.argv[1]), opened(Path(sys.argv[2])))
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, store: PoolDatastore, published: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    script = SCRIPT.format(threads=torch.get_num_threads())
    command = [sys.executable, "-c", script, str(tmp_path), store._path]
    root = Path(__file__).parents[3]
    checkpoint = tmp_path / "pretraining" / "checkpoint.pt"
    with subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) as process:
        end = time.monotonic() + 600
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert checkpoint.exists() and not (tmp_path / "pretrained.pt").exists(), "killed in the middle"
    torch.rand(7)  # what happened before does not matter
    with caplog.at_level(logging.INFO, logger="trainers.csal3d.task"):
        resumed = pretrain(tmp_path, store)
    assert any(r.getMessage().startswith("Resuming at iteration") for r in caplog.records)
    assert same(published, resumed)
    assert resumed["details"] == published["details"], "the loss curve and what was seen, too"


@pytest.mark.parametrize(("request_", "why"), [({"seed": 43}, "other settings"), ({}, "is gone")])
def test_a_checkpoint_that_does_not_fit_is_not_gone_on_with(
    tmp_path: Path,
    store: PoolDatastore,
    caplog: pytest.LogCaptureFixture,
    request_: dict[str, Any],
    why: str,
) -> None:
    write_volume(tmp_path / "z.nii.gz", 9)
    other = opened(tmp_path) if not request_ else store
    run(tmp_path / "state", store, {"iterations": 2}, stop_at=1)
    pretrain(tmp_path / "state", other, iterations=2, **request_)
    assert any(why in r.getMessage() for r in caplog.records if r.name == "trainers.csal3d.task")
    details = torch.load(tmp_path / "state" / "pretrained.pt", weights_only=True)["details"]
    assert details["seed"] == request_.get("seed", 42) and len(details["curve"]) == 2


def run(folder: Path, store: PoolDatastore, request: dict[str, Any], stop_at: int) -> None:
    """Run a pretraining that is interrupted when it reports an iteration."""

    class Stopped(Exception):
        pass

    class Interrupted(Pretraining):
        def _report(self, run: Any, started: float, first: int) -> None:
            if run.iteration > stop_at:
                raise Stopped

    folder.mkdir(exist_ok=True)
    with pytest.raises(Stopped):
        Interrupted(folder, Bundle("volumes", SMALL), 42)(REQUEST | request, store)


def test_losses_can_be_left_out_for_an_ablation(tmp_path: Path, store: PoolDatastore) -> None:
    details = pretrain(tmp_path, store, iterations=1, losses="inpainting,consistency")["details"]
    assert details["losses"] == ["inpainting", "consistency"]
    assert details["curve"][0].keys() == {"iteration", "inpainting", "consistency", "total"}


@pytest.mark.parametrize(
    ("request_", "message"),
    [({"iterations": 0}, "pretrain_iterations 0"), ({"losses": "contrast"}, "expected one or more of")],
)
def test_a_request_that_cannot_be_meant_is_refused(
    tmp_path: Path, store: PoolDatastore, request_: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pretrain(tmp_path, store, **request_)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pretrain_crop": 48}, "multiple of 32"),
        ({"pretrain_mask_block": 5}, "must divide the crop"),
        ({"pretrain_mask_ratio": 1.0}, "below 1"),
        ({"pretrain_feature_size": 10}, "cannot be built"),
        ({"pretrain_workers": -1}, "pretrain_workers -1"),
        ({"pretrain_learning_rate": 0.0}, "above 0"),
        ({"pretrain_batch_size": 1.5}, "whole number"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_pretraining(Bundle("volumes", values))


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    studies.mkdir()
    with pytest.raises(RuntimeError, match="add volumes"):
        pretrain(tmp_path / "state", opened(studies))
    (studies / "a.nii.gz").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="no volume of this pool can be read"):
        pretrain(tmp_path / "state", opened(studies))
    assert not (tmp_path / "state" / "pretrained.pt").exists()


def test_one_training_at_a_time(tmp_path: Path, store: PoolDatastore) -> None:
    with FileLock(tmp_path / "training.lock"), pytest.raises(RuntimeError, match="another training"):
        pretrain(tmp_path, store)
