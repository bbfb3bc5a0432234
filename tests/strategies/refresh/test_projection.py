"""The map: finite and reproducible for every pool, even tiny or constant ones."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from strategies.refresh.projection import place, project


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


def grouped(count: int, groups: int = 4, size: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw features of distant groups, with each row's group; the groups do not depend on the seed."""
    chance = np.random.default_rng(seed + 1)
    group = chance.integers(0, groups, count)
    return 3 * features(groups, size)[group] + chance.normal(size=(count, size)), group


def nearest(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the known point nearest to each point."""
    return np.linalg.norm(points[:, None] - known[None], axis=-1).argmin(axis=1)


def test_new_images_come_beside_their_like_and_known_ones_stay() -> None:
    known, group = grouped(120)
    new, its = grouped(30, seed=9)
    points = project(known, "tsne", 30, 42)
    before = points.copy(), known.copy(), new.copy()
    placed = place(known, points, new, "tsne", 30, 42)
    assert placed.shape == (30, 2) and placed.dtype == np.float64
    for given, was in zip((points, known, new), before, strict=True):
        np.testing.assert_array_equal(given, was)
    assert (group[nearest(placed, points)] == its).mean() > 0.9


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("shift", [0.0, 1e-3])
def test_a_near_duplicate_lands_beside_its_original(method: str, shift: float) -> None:
    known, _ = grouped(100, size=60)
    points = project(known, method, 30, 42)
    placed = place(known, points, known[:10] + shift * features(10, seed=3), method, 30, 42)
    assert np.linalg.norm(placed - points[:10], axis=1).max() < 0.05 * np.ptp(points, axis=0).max()


@pytest.mark.parametrize("size", [8, 80])  # with and without principal components first
def test_placing_is_the_same_every_time_and_alone_or_together(size: int) -> None:
    known, new = grouped(60, size=size)[0], grouped(5, size=size, seed=4)[0]
    points = project(known, "tsne", 30, 42)
    together = place(known, points, new, "tsne", 30, 42)
    np.testing.assert_array_equal(together, place(known.copy(), points, new.copy(), "tsne", 30, 42))
    alone = [place(known, points, row[None], "tsne", 30, 42)[0] for row in new]
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_a_small_map_places_with_the_perplexity_that_it_was_laid_out_with() -> None:
    known, new = grouped(31)[0], grouped(3, seed=4)[0]  # at most (31 - 1) / 3 = 10
    points = project(known, "tsne", 30, 42)
    at_most = place(known, points, new, "tsne", 10, 42)
    np.testing.assert_array_equal(place(known, points, new, "tsne", 30, 42), at_most)
    assert not np.allclose(place(known, points, new, "tsne", 3, 42), at_most)


def test_placing_does_not_depend_on_where_the_map_lies() -> None:
    known, new = grouped(60)[0], grouped(5, seed=4)[0]
    points, aside = project(known, "tsne", 30, 42), np.array([100.0, -30.0])
    moved = place(known, points + aside, new, "tsne", 30, 42)
    np.testing.assert_allclose(moved, place(known, points, new, "tsne", 30, 42) + aside, atol=1e-6)


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("count", range(1, 9))
def test_placing_on_a_small_map_is_finite(method: str, count: int) -> None:
    known = features(count)
    points = project(known, method, 30, 42)
    new = np.vstack(
        [known[:1], known[-1:] + 1e6, np.zeros((1, known.shape[1]))]
    )  # a twin, an outlier, nothing
    placed = place(known, points, new, method, 30, 42)
    assert placed.shape == (3, 2) and np.isfinite(placed).all()
    assert np.linalg.norm(placed[0] - points[0]) < 0.1 + 0.05 * np.ptp(points, axis=0).max()


@pytest.mark.parametrize("method", ["tsne", "pca"])
@pytest.mark.parametrize("different", [0, 1, 10])
def test_placing_among_images_that_are_alike_is_finite(method: str, different: int) -> None:
    known = np.full((30, 60), 0.3)
    known[:different] = 1.0
    points = project(known, method, 30, 42)
    placed = place(known, points, np.stack([known[0], known[-1], np.full(60, 5.0)]), method, 30, 42)
    assert placed.shape == (3, 2) and np.isfinite(placed).all()


def test_placing_with_one_feature_stays_on_the_line() -> None:
    known = np.array([[0.0], [1.0], [3.0]])
    placed = place(known, project(known, "tsne", 30, 42), np.array([[2.0]]), "tsne", 30, 42)
    assert placed[0, 1] == 0
    np.testing.assert_allclose(np.abs(placed[0, 0] - project(known, "tsne", 30, 42)[:, 0]), [2, 1, 1])


def test_without_a_projection_new_images_stay_as_they_are() -> None:
    new = features(3)
    np.testing.assert_array_equal(place(features(6), features(6), new, "none", 30, 42), new)


def test_a_large_map_places_as_a_small_one_does() -> None:
    """From 10,000 images openTSNE interpolates the forces; both of its methods agree."""
    known, group = grouped(10_000, size=20)
    points = 30 * features(4, 2)[group] + np.random.default_rng(7).normal(size=(10_000, 2))
    new, its = grouped(20, size=20, seed=4)
    placed = place(known, points, new, "tsne", 30, 42)
    np.testing.assert_array_equal(group[nearest(placed, points)], its)
    below = place(known[:-1], points[:-1], new, "tsne", 30, 42)
    np.testing.assert_allclose(placed, below, atol=0.05 * np.ptp(points, axis=0).max())
