"""Eq. 1 to 4 on tensors small enough to compute by hand."""

from __future__ import annotations

import math

import pytest
import torch

from infers.csal3d.network import Csal3dNetwork
from infers.csal3d.views import observe
from trainers.csal3d.losses import LOSSES, consistency, inpainting, parse_losses, rotation, view_losses


def test_inpainting_by_hand() -> None:
    """Observations that are off by 1, 2 and 3 everywhere: a view's part is (1 + 4 + 9) / 9."""
    whole = torch.rand(3, 2, 1, 2, 2, 2)
    off = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1, 1, 1, 1)
    assert inpainting(whole + off, whole) == pytest.approx((1 + 4 + 9) / 9, rel=1e-5)


def test_rotation_by_hand() -> None:
    """Probabilities 1/2, 1/4 and 1/4 for the true angle: a view's part is (ln 2 + ln 4 + ln 4) / 9."""
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.2, 0.1], [0.25] * 4, [0.3, 0.3, 0.15, 0.25]]))[:, None]
    found = rotation(logits, torch.tensor([0, 2, 3]))
    assert found == pytest.approx((math.log(2) + 2 * math.log(4)) / 9, rel=1e-5)


def test_consistency_by_hand() -> None:
    """Reconstructions 0, 1 and 3: pairs differ by 1, 2 and 3, each counted in both orders, over 18."""
    aligned = torch.tensor([0.0, 1.0, 3.0]).reshape(3, 1, 1, 1, 1, 1).expand(3, 2, 1, 2, 2, 2)
    assert consistency(aligned) == pytest.approx(2 * (1 + 2 + 3) / 18)


def test_three_views_add_up_to_the_papers_sums() -> None:
    """A network of zeros: Eq. 1 is the mean square, Eq. 2 is ln 4, Eq. 3 is 0."""
    network = Csal3dNetwork(feature_size=8, window=2, groups=4)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    crops = torch.rand(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    total = dict.fromkeys(LOSSES, 0.0)
    for view in observe(crops, 4, 0.3, torch.Generator().manual_seed(0)):
        for name, part in view_losses(network, view, LOSSES).items():
            total[name] += part.item()
    assert total["inpainting"] == pytest.approx(crops.square().mean().item(), rel=1e-4)
    assert total["rotation"] == pytest.approx(math.log(4), rel=1e-5)
    assert total["consistency"] == 0


@pytest.mark.parametrize("terms", [("inpainting",), ("rotation", "consistency"), LOSSES])
def test_each_term_can_be_left_out(terms: tuple[str, ...]) -> None:
    network = Csal3dNetwork(feature_size=8, window=2, groups=4)
    view = next(observe(torch.rand(1, 1, 32, 32, 32), 4, 0.3, torch.Generator().manual_seed(0)))
    parts = view_losses(network, view, terms)
    assert tuple(parts) == terms
    sum(parts.values()).backward()  # type: ignore[union-attr]
    assert (network.rotation.weight.grad is not None) == ("rotation" in terms)


def test_names_of_the_terms_are_checked() -> None:
    assert parse_losses("consistency, inpainting") == ("inpainting", "consistency")
    for text in ("", "inpainting,contrast", "Inpainting"):
        with pytest.raises(ValueError, match="expected one or more of inpainting, rotation, consistency"):
            parse_losses(text)


@pytest.mark.parametrize(("feature_size", "dim"), [(8, 128), (16, 256)])
def test_features_are_sixteen_times_the_feature_size(feature_size: int, dim: int) -> None:
    network = Csal3dNetwork(channels=2, feature_size=feature_size, window=2).eval()
    crops = torch.rand(2, 2, 32, 32, 32)
    assert network.embed(crops).shape == (2, dim) and network.features == dim
    rebuilt, logits = network(crops)
    assert rebuilt.shape == crops.shape and logits.shape == (2, 4)
    assert torch.equal(network.reconstruct(crops), rebuilt)
