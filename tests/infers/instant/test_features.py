"""Reduced features of images, with the encoder that needs no weights."""

from collections.abc import Iterator

import numpy as np
import pytest

from infers.encoders.descriptor_grid import DescriptorGrid
from infers.instant.features import (
    CHANNELS,
    SCALES,
    Features,
    Reduction,
    drawn,
    fit_reduction,
    plane_features,
)
from infers.instant.planes import Planes


def images(count: int = 6) -> Iterator[Planes]:
    rng = np.random.default_rng(0)
    for i in range(count):
        image = rng.random((30 + 10 * i, 50), dtype=np.float32)
        image[5:20, 10 : 20 + 3 * i] /= 4
        yield Planes([image], np.empty(0, np.float32), image.shape[::-1])


def test_a_reduction_is_reproducible_and_survives_storage() -> None:
    encoder = DescriptorGrid()
    one, other = fit_reduction(encoder, images()), fit_reduction(encoder, images())
    assert one.key == other.key and one.key.startswith("descriptor-grid:1|instant:1:")
    stored = Reduction.from_bytes(one.to_bytes())
    assert stored.key == one.key and len(one.to_bytes()) < 200_000
    planes = next(images())
    np.testing.assert_array_equal(
        plane_features(encoder, stored, planes).grids, plane_features(encoder, one, planes).grids
    )
    assert fit_reduction(encoder, images(3)).key != one.key


def test_features_are_intensities_and_components_the_largest_first() -> None:
    encoder = DescriptorGrid()
    reduction = fit_reduction(encoder, images())
    grids = np.concatenate([plane_features(encoder, reduction, planes).grids for planes in images()])
    assert grids.shape == (6, 64, 64, CHANNELS) and grids.dtype == np.float16
    assert np.isfinite(grids).all()
    spread = grids[..., len(SCALES) :].astype(np.float32).std(axis=(0, 1, 2))
    assert 0.5 < spread[0] < 2 and spread[0] > spread[5] > spread[20]


def test_a_flat_image_and_a_single_one_have_finite_features() -> None:
    encoder = DescriptorGrid()
    flat = Planes([np.zeros((20, 20), np.float32)], np.empty(0, np.float32), (20, 20))
    reduction = fit_reduction(encoder, [flat])
    assert np.isfinite(plane_features(encoder, reduction, flat).grids).all()
    with pytest.raises(ValueError, match="at least one image"):
        fit_reduction(encoder, [])


def test_the_sample_does_not_depend_on_the_order() -> None:
    ids = [f"image {i}" for i in range(100)]
    assert drawn(ids) == drawn(ids[::-1]) and len(set(drawn(ids))) == 64
    assert sorted(drawn(["b", "a"])) == ["a", "b"]


def test_coarse_features_keep_some_slices_with_their_positions() -> None:
    grids = np.zeros((40, 64, 64, CHANNELS), np.float16)
    fine = Features(grids, np.linspace(0, 1, 40, dtype=np.float32))
    coarse = fine.coarse()
    assert coarse.grids.shape == (16, 16, 16, CHANNELS)
    assert (coarse.positions[0], coarse.positions[-1], len(coarse.positions)) == (0, 1, 16)
    assert coarse.coarse() is coarse
