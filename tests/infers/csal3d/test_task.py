"""Features and uncertainty against the written-out equations, on volumes of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bundle_configs import Bundle
from infers.csal3d.task import Csal3d, starts, variance
from infers.csal3d.views import observe, turn_back
from infers.fingerprints import pretrained_key

VALUES = {"pretrain_feature_size": 8, "pretrain_window": 2}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish a network with random weights, as the trainer does."""
    path = tmp_path_factory.mktemp("state") / "pretrained.pt"
    torch.manual_seed(0)
    network = Bundle("volumes", VALUES).new("pretrain_network")
    details = {"bundle": "volumes", "overrides": VALUES, "seed": 42}
    torch.save({"model": network.state_dict(), "details": details}, path)
    return path


@pytest.fixture(scope="module")
def judge(published: Path) -> Csal3d:
    return Csal3d(published)


def volume(*shape: int) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("size", "places"), [(20, [0]), (32, [0]), (35, [0, 3]), (51, [0, 16, 19]), (64, [0, 16, 32])]
)
def test_windows_step_by_half_their_side_and_end_flush(size: int, places: list[int]) -> None:
    assert starts(size, 32) == places


def test_uncertainty_is_the_variance_of_nine_realigned_reconstructions(judge: Csal3d) -> None:
    """Eq. 5 and 6 voxel by voxel, without the project's alignment and variance."""
    window = volume(32, 32, 32)
    found = variance(judge.network, window, 4, 0.3, torch.Generator().manual_seed(3))
    rebuilt = []
    for view in observe(window[None], 4, 0.3, torch.Generator().manual_seed(3)):
        for r, quarters in enumerate(view.quarters):
            with torch.inference_mode():
                y = judge.network(view.masked[r])[0][0, 0]
            rebuilt.append(turn_back(y, view.index, quarters).numpy())
    nine = np.stack(rebuilt).astype(np.float64)
    assert nine.shape == (9, 32, 32, 32)
    mean = nine.sum(axis=0) / 9
    expected = ((nine - mean) ** 2).sum(axis=0) / 9
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-6)


def test_a_volume_as_large_as_the_window_is_one_window(judge: Csal3d) -> None:
    x = volume(32, 32, 32)
    found = judge.judge_volume(x)
    drawn = torch.Generator().manual_seed(judge._seed_of(0))
    assert found.uncertainty == pytest.approx(
        float(variance(judge.network, x, 4, 0.3, drawn).mean()), rel=1e-5
    )
    with torch.inference_mode():
        np.testing.assert_allclose(found.features, judge.network.embed(x[None])[0].numpy(), rtol=1e-5)


def test_overlapping_windows_are_averaged_before_the_volume_is(judge: Csal3d) -> None:
    """Eq. 7 and 8 on two windows that share 24 of 40 slices."""
    x = volume(40, 32, 32)
    parts = [
        variance(judge.network, x[:, w : w + 32], 4, 0.3, torch.Generator().manual_seed(judge._seed_of(n)))
        for n, w in enumerate((0, 8))
    ]
    whole = torch.cat([parts[0][:8], (parts[0][8:] + parts[1][:24]) / 2, parts[1][24:]])
    assert judge.judge_volume(x).uncertainty == pytest.approx(float(whole.mean()), rel=1e-5)


def test_padding_does_not_count(judge: Csal3d) -> None:
    """A volume thinner than the window: variance over its own voxels only."""
    x = volume(32, 32, 20)
    padded = torch.nn.functional.pad(x, (6, 6))
    drawn = torch.Generator().manual_seed(judge._seed_of(0))
    own = variance(judge.network, padded, 4, 0.3, drawn)[..., 6:26]
    assert judge.judge_volume(x).uncertainty == pytest.approx(float(own.mean()), rel=1e-5)


def test_the_same_volume_gives_the_same_numbers_and_another_others(judge: Csal3d, published: Path) -> None:
    one, other = judge.judge_volume(volume(36, 32, 20)), judge.judge_volume(volume(36, 32, 21))
    torch.rand(5)
    again = Csal3d(published).judge_volume(volume(36, 32, 20))
    assert one.features.shape == (128,) and one.features.dtype == np.float32
    assert np.array_equal(one.features, again.features) and one.uncertainty == again.uncertainty > 0
    assert other.uncertainty != one.uncertainty


def test_the_key_changes_with_the_weights(published: Path, judge: Csal3d, tmp_path: Path) -> None:
    assert judge.key == pretrained_key(published) and judge.key.startswith("csal3d|")
    assert pretrained_key(tmp_path / "pretrained.pt") is None
    content = torch.load(published, weights_only=True)
    content["model"]["rotation.bias"] += 1
    torch.save(content, tmp_path / "pretrained.pt")
    assert pretrained_key(tmp_path / "pretrained.pt") != judge.key


def test_a_network_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="start the training `pretraining` first"):
        Csal3d(tmp_path / "pretrained.pt")
