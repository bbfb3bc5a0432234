"""Dense features: what is kept of a network's maps, and encoders without any."""

import numpy as np
import pytest
import torch

from infers.encoders import dense_encoder, make_encoder
from infers.encoders.dense import NoDenseFeatures, finest_of_each_stride
from infers.encoders.descriptor_grid import DescriptorGrid
from infers.encoders.hidden_states import _patches


class MeanGrey:
    """An encoder, as a plug-in may be, without dense features."""

    key, name, dim = "mean-grey:1", "mean_grey", 1

    def embed(self, images: list[np.ndarray]) -> np.ndarray:
        return np.array([[image.mean()] for image in images], np.float32)


def test_an_encoder_without_dense_features_gets_the_descriptors_and_the_key_says_so() -> None:
    encoder = dense_encoder(MeanGrey())
    assert isinstance(encoder, DescriptorGrid)
    assert encoder.dense_key == "descriptor-grid:1|mean-grey:1 has no dense features"
    plain = dense_encoder(make_encoder("descriptor"))
    assert plain.dense_key == "descriptor-grid:1"
    image = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    for one, other in zip(encoder.dense([image])[0], plain.dense([image])[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_deepest_map_of_each_stride_is_kept() -> None:
    maps = [torch.full((1, c, s, s), float(c)) for c, s in ((2, 32), (3, 16), (4, 16), (5, 8), (6, 2))]
    assert [tuple(m.shape[1:]) for m in finest_of_each_stride(maps, 64)] == [
        (4, 16, 16),
        (5, 8, 8),
        (6, 2, 2),
    ]
    with pytest.raises(NoDenseFeatures, match=r"strides \[2\] only"):
        finest_of_each_stride(maps[:1], 64)


def test_the_tokens_of_patches_are_the_last() -> None:
    tokens = torch.arange(3.0 + 16)[None, :, None]
    np.testing.assert_array_equal(_patches(tokens)[0, 0], 3 + np.arange(16).reshape(4, 4))
    with pytest.raises(NoDenseFeatures, match="60 tokens"):
        _patches(torch.zeros(1, 60, 2))


def test_the_descriptors_channels_follow_an_edge() -> None:
    image = np.zeros((64, 64), np.float32)
    image[:, 32:] = 1
    level = DescriptorGrid().dense([image])[0][1]
    grey, magnitude, down, right = (level[:, :, k] for k in range(4))
    assert grey[32, 10] < 0.05 and grey[32, 54] > 0.95
    assert magnitude[32].argmax() in (31, 32) and right[32, 32] > 0.1
    assert np.abs(down).max() < 1e-4
