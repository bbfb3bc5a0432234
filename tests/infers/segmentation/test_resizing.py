"""Resizing by matrices equals MONAI's, and leaves other transforms alone."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import NormalizeIntensityd, Resized

from bundle_configs import Bundle
from infers.segmentation.resizing import SwiftResized, swift


@pytest.mark.parametrize("anti_aliasing", [True, False])
@pytest.mark.parametrize("shape", [(64, 64), (200, 333), (333, 90), (65, 64), (50, 41), (1, 300)])
def test_the_picture_is_that_of_monai(shape: tuple[int, int], anti_aliasing: bool) -> None:
    picture = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    step = Resized(keys="image", spatial_size=[64, 48], mode="bilinear", anti_aliasing=anti_aliasing)
    (ours,) = swift([step])
    assert isinstance(ours, SwiftResized)
    found, expected = (one({"image": picture})["image"] for one in (ours, step))
    assert found.shape == expected.shape == (1, 64, 48)
    torch.testing.assert_close(found, expected.as_tensor(), rtol=0, atol=2e-6)


def test_apps_for_pictures_have_such_a_step_and_others_stay_as_they_are() -> None:
    for name in ("cxr_lungs", "cxr_heart_lungs", "brain_mri"):
        kinds = [type(step) for step in swift(Bundle(name).new("image_transforms"))]
        assert SwiftResized in kinds and Resized not in kinds and NormalizeIntensityd in kinds
    more = {"spatial_size": [8, 8]}
    others = [
        Resized(keys="label", mode="bilinear", **more),
        Resized(keys="image", mode="nearest", **more),
        Resized(keys="image", mode="bilinear", align_corners=True, **more),
        Resized(keys="image", mode="bilinear", anti_aliasing=True, anti_aliasing_sigma=1.0, **more),
        Resized(keys="image", mode="bilinear", spatial_size=8, size_mode="longest"),
        *Bundle("volumes").new("image_transforms"),
    ]
    assert swift(others) == others
