"""A network on ONNX Runtime agrees with PyTorch; PyTorch stays in use where it would not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import pytest
import torch
from transformers import (
    Dinov2Config,
    Dinov2Model,
    MobileNetV2Config,
    MobileNetV2Model,
    ResNetConfig,
    ResNetModel,
)

import infers.runtime
from bundle_configs import Bundle
from infers.encoders.huggingface import _Pooled
from infers.runtime import Runtime

RESNET = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
DINO = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
NETWORKS: dict[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...]]] = {
    "resnet": (lambda: _Pooled(ResNetModel(RESNET), "pooler_output"), (3, 32, 32)),
    "mobilenet": (lambda: _Pooled(MobileNetV2Model(MobileNetV2Config()), "pooler_output"), (3, 64, 64)),
    "dinov2": (lambda: _Pooled(Dinov2Model(DINO), "cls token"), (3, 32, 32)),
    "radiographs": (lambda: Bundle("cxr_lungs", {"channels": [4, 8]}).new("network_def"), (1, 32, 32)),
    "volumes": (lambda: Bundle("volumes").new("network_def"), (1, 32, 32, 32)),
}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infers.runtime, "PAYS", 4)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_onnx_runtime_gives_what_pytorch_gives(name: str, caplog: pytest.LogCaptureFixture) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(1)
    network = make().eval()
    chance = torch.Generator().manual_seed(2)
    batches = [torch.randn(size, *shape, generator=chance) for size in (3, 3, 1, 5)]
    with torch.inference_mode():
        expected = [network(batch) for batch in batches]
    run = Runtime(network, "It")
    with caplog.at_level(logging.INFO, logger="infers.runtime"):
        found = [run(batch) for batch in batches]
    assert ["runs on ONNX Runtime" in message for message in caplog.messages] == [True]
    for one, two in zip(found, expected, strict=True):
        assert one.shape == two.shape and one.dtype == torch.float32
        assert (one - two).abs().max() <= 1e-5 * two.abs().max()


def test_another_shape_is_taken_too() -> None:
    torch.manual_seed(1)
    network = NETWORKS["resnet"][0]().eval()
    run = Runtime(network, "It")
    for shape in ((6, 3, 32, 32), (2, 3, 40, 24), (2, 3, 32, 32)):
        batch = torch.randn(shape)
        with torch.inference_mode():
            torch.testing.assert_close(run(batch), network(batch), rtol=1e-4, atol=1e-5)


class Unknown(torch.nn.Module):
    """A network with an operation that cannot be exported."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(batch)


class OfOneSize(torch.nn.Module):
    """A network whose export only supports batches as large as the first."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.mean((2, 3)).reshape(len(batch), -1)


@pytest.mark.parametrize(
    ("network", "says"),
    [(Unknown(), "cannot be exported"), (OfOneSize(), "differs by"), (None, "pip install")],
)
def test_pytorch_stays_and_the_log_says_why(
    network: torch.nn.Module | None,
    says: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if network is None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    run = Runtime(network or NETWORKS["resnet"][0](), "It")
    with caplog.at_level(logging.INFO, logger="infers.runtime"):
        for size in (3, 1, 1, 2):
            assert len(run(torch.ones(size, 3, 32, 32))) == size
    assert [says in message and "runs on PyTorch" in message for message in caplog.messages] == [True]


def test_a_difference_is_noticed(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infers.runtime, "AGREES", 0.0)
    run = Runtime(NETWORKS["resnet"][0](), "It")
    batch = torch.randn(6, 3, 32, 32)
    run(batch)
    assert "runs on PyTorch: ONNX Runtime differs by" in caplog.text
    torch.testing.assert_close(run(batch), run._torch(batch), rtol=0, atol=0)
