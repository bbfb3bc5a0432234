"""The map: finite and reproducible for every pool, however small or dull."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from strategies.projection import project


def features(count: int, size: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size))


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("count", range(0, 9))
def test_small_pools_have_a_finite_map(method: str, count: int) -> None:
    points = project(features(count), method, 30, 42)
    assert points.shape == (count, 2) and points.dtype == np.float64
    assert np.isfinite(points).all()
    assert len(np.unique(points, axis=0)) == count, "different images lie in different places"


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("count", [1, 4, 5, 30])
def test_images_that_are_all_alike_share_one_point(method: str, count: int) -> None:
    np.testing.assert_array_equal(project(np.full((count, 7), 0.3), method, 30, 42), np.zeros((count, 2)))


def test_none_keeps_the_features() -> None:
    given = features(6)
    np.testing.assert_array_equal(project(given, "none", 30, 42), given)


@pytest.mark.parametrize(("method", "count"), [("pca", 20), ("tsne", 4)])
def test_principal_components_of_pca_and_of_fewer_than_five_images(method: str, count: int) -> None:
    given = features(count)
    expected = PCA(2, svd_solver="full").fit_transform(given)
    found = project(given, method, 30, 42)
    signs = np.sign((expected * found).sum(axis=0))
    np.testing.assert_allclose(found, expected * signs, atol=1e-8)


def test_one_feature_is_mapped_onto_a_line() -> None:
    points = project(np.array([[0.0], [1.0], [3.0]]), "tsne", 30, 42)
    assert (points[:, 1] == 0).all()
    np.testing.assert_allclose(np.abs(np.diff(points[:, 0])), [1, 2])


@pytest.mark.parametrize("size", [8, 60])
def test_same_seed_gives_the_same_map(size: int) -> None:
    given = features(25, size)
    np.testing.assert_array_equal(project(given, "tsne", 30, 42), project(given.copy(), "tsne", 30, 42))


def test_tsne_keeps_far_groups_apart() -> None:
    given = features(40, 80)
    given[20:] += 25
    points = project(given, "tsne", 30, 42)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    assert ((gaps.argmin(axis=1) < 20) == (np.arange(40) < 20)).all()


def test_perplexity_changes_the_map_up_to_what_the_pool_allows() -> None:
    given = features(31)  # at most (31 - 1) / 3 = 10
    at_most = project(given, "tsne", 10, 42)
    np.testing.assert_array_equal(project(given, "tsne", 30, 42), at_most)
    assert not np.allclose(project(given, "tsne", 3, 42), at_most)
