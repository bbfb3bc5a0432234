"""Mean silhouettes, with scikit-learn as the slow reference."""

from __future__ import annotations

from collections.abc import Sequence

import joblib
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from strategies.selectors.numerics import silhouette
from strategies.selectors.numerics.silhouette import mean_silhouettes

MANY = 31_000  # more than are compared exactly


def kmeans(points: np.ndarray, clusters: Sequence[int]) -> list[np.ndarray]:
    return [KMeans(k, n_init=1, random_state=0).fit_predict(points).astype(np.int64) for k in clusters]


def layout(name: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    noise, turn = rng.normal(size=(count, 2)), rng.random(count) * 7
    centres = rng.normal(size=(12, 2)) * 6
    return {
        "normal": noise,
        "uniform": rng.random((count, 2)) + 1000,
        "blobs": centres[rng.integers(0, 12, count)] + noise,
        "tight": centres[rng.integers(0, 12, count)] + noise / 20,
        "spiral": np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1) + noise / 5,
        "long": rng.random((count, 2)) * [1, 30],
    }[name]


@pytest.mark.parametrize("columns", [1, 2, 3, 64, 131])
@pytest.mark.parametrize("count", [9, 127, 1_300])
def test_equals_scikit_learn(count: int, columns: int) -> None:
    points = np.random.default_rng(count).normal(size=(count, columns)) * 1e-3 + 5
    found = kmeans(points, (2, 3, 7))
    expected = [silhouette_score(points, labels) for labels in found]
    assert mean_silhouettes(points, found) == pytest.approx(expected, abs=1e-6)


def test_random_labels_and_clusters_of_one() -> None:
    rng = np.random.default_rng(5)
    points = rng.random((200, 2))
    some, one = rng.integers(0, 5, 200), np.zeros(200, dtype=np.int64)
    one[17] = 1
    expected = [silhouette_score(points, labels) for labels in (some, one)]
    assert mean_silhouettes(points, [some, one]) == pytest.approx(expected, abs=1e-7)


def test_points_that_coincide() -> None:
    points = np.repeat([[0.0, 0.0], [1.0, 0.0]], 3, axis=0)
    halves, mixed = np.repeat([0, 1], 3), np.tile([0, 1], 3)
    assert mean_silhouettes(points, [halves]) == [1.0]
    assert mean_silhouettes(points, [mixed]) == pytest.approx([silhouette_score(points, mixed)])
    assert mean_silhouettes(np.ones((4, 2)), [np.array([0, 0, 1, 1])]) == [0.0]


@pytest.mark.parametrize("scale", [1e-300, 1e90])
def test_scale_does_not_matter(scale: float) -> None:
    points = layout("blobs", 60)
    found = kmeans(points, (2, 4))
    assert mean_silhouettes(points * scale, found) == pytest.approx(mean_silhouettes(points, found), abs=1e-7)


def test_no_labelling() -> None:
    assert mean_silhouettes(np.ones((4, 2)), []) == []


def test_the_number_of_threads_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    points = layout("normal", 5_000)
    found = kmeans(points, (2, 5))
    scores = []
    for threads in (1, 3):
        monkeypatch.setattr(joblib, "cpu_count", lambda threads=threads: threads)
        scores.append(mean_silhouettes(points, found))
    assert scores[0] == scores[1]


@pytest.mark.parametrize("name", ["normal", "uniform", "blobs", "tight", "spiral", "long"])
def test_the_grid_of_a_large_map_chooses_the_same_k(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points, clusters = layout(name, MANY), range(2, 13)
    found = kmeans(points, clusters)
    near = mean_silhouettes(points, found)
    monkeypatch.setattr(silhouette, "MAX_EXACT", MANY)
    exact = mean_silhouettes(points, found)
    assert near == pytest.approx(exact, abs=1e-3)
    assert near != exact
    assert np.argmax(near) == np.argmax(exact)


def test_a_map_too_wide_for_the_grid_is_sampled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points = layout("blobs", MANY)
    points[7] = 1e4  # all others are now in a corner of the grid
    found = kmeans(points, (3, 5))
    caplog.set_level("INFO")
    near = mean_silhouettes(points, found)
    assert "mean over 10000" in caplog.text
    monkeypatch.setattr(silhouette, "MAX_EXACT", MANY)
    assert near == pytest.approx(mean_silhouettes(points, found), abs=5e-3)


def test_more_than_two_columns_of_a_large_pool_are_sampled(caplog: pytest.LogCaptureFixture) -> None:
    points = np.concatenate([layout("tight", MANY), layout("uniform", MANY)], axis=1)
    found = kmeans(points, (2, 12))
    caplog.set_level("INFO")
    near = mean_silhouettes(points, found)
    assert "mean over 10000" in caplog.text
    assert near == mean_silhouettes(points, found)
    rows = np.random.default_rng(1).choice(MANY, 3_000, replace=False)
    for score, labels in zip(near, found, strict=True):
        assert score == pytest.approx(silhouette_score(points[rows], labels[rows]), abs=0.03)
