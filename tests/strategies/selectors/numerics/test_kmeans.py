"""k-means returns scikit-learn's labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning

from strategies.selectors.numerics.kmeans import FEW_POINTS, _best_start, kmeans_labels


def scikit_learn(points: np.ndarray, k: int, n_init: int, seed: int) -> np.ndarray:
    return KMeans(k, n_init=n_init, random_state=seed).fit_predict(points)


@given(
    count=st.integers(FEW_POINTS - 1, 2000),
    columns=st.sampled_from([2, 2, 2, 3]),
    k=st.integers(1, 20),
    n_init=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
)
@settings(deadline=None, max_examples=80)
def test_labels_are_those_of_scikit_learn(
    count: int, columns: int, k: int, n_init: int, seed: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, columns)) + spread * rng.integers(0, 3, size=(count, 1)) + 100.0
    np.testing.assert_array_equal(
        kmeans_labels(points, k, n_init, seed), scikit_learn(points, k, n_init, seed)
    )


@pytest.mark.parametrize(("count", "n_init"), [(10_000, 10), (30_000, 1)])
def test_labels_of_a_large_map_are_those_of_scikit_learn(count: int, n_init: int) -> None:
    points = make_blobs(count, centers=9, cluster_std=2.0, random_state=3)[0]
    for k in (2, 9, 20):
        np.testing.assert_array_equal(
            kmeans_labels(points, k, n_init, 42), scikit_learn(points, k, n_init, 42)
        )


def test_clusters_that_run_empty_are_left_to_scikit_learn() -> None:
    points = np.repeat([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]], 700, axis=0)
    assert _best_start(points - points.mean(axis=0), 5, 10, 1) is None
    with pytest.warns(ConvergenceWarning, match="distinct clusters"):
        labels, theirs = kmeans_labels(points, 5, 10, 1), scikit_learn(points, 5, 10, 1)
    np.testing.assert_array_equal(labels, theirs)
    assert len(set(labels)) == 3
