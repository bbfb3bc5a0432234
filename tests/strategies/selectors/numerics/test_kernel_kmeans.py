"""Multi-kernel k-means: sums that change by the rows that move say the same as whole kernel matrices."""

from __future__ import annotations

import numpy as np
import pytest

from strategies.selectors.numerics import kernel_kmeans as module
from strategies.selectors.numerics.kernel_kmeans import kernel_kmeans


def reach(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N, k): each row's squared distance to each centre, from all pairs of rows."""
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    squared /= np.median(squared[np.triu_indices(len(points), 1)])
    kernel = np.asarray(sum(np.exp(-gamma * squared) for gamma in (0.1, 1.0, 10.0)))
    means = (labels[:, None] == np.arange(labels.max() + 1)) / np.bincount(labels)
    return np.asarray((means * (kernel @ means)).sum(axis=0) - 2 * kernel @ means + 3.0)


@pytest.mark.parametrize("cached", [True, False])
def test_at_the_end_each_row_is_nearest_to_its_own_centre(
    cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(0).normal(size=(600, 3))
    if not cached:  # the rows that are scaled by are then a sample, too: 599 of 600
        monkeypatch.setattr(module, "_MAX_CACHED", 599)
    labels = kernel_kmeans(points, 7, seed=3)
    distances = reach(points, labels)
    own = distances[np.arange(len(points)), labels]
    assert (own <= distances.min(axis=1) + (1e-9 if cached else 1e-3)).all()
    assert np.bincount(labels).tolist() == sorted(np.bincount(labels), reverse=True)


def test_the_kept_matrix_does_not_change_the_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(1).normal(size=(500, 2))
    monkeypatch.setattr(module, "_STARTS", 1)
    monkeypatch.setattr(module, "_scaled", lambda values, _: values)
    kept = kernel_kmeans(points, 6, seed=2)
    monkeypatch.setattr(module, "_MAX_CACHED", 10)
    monkeypatch.setattr(module, "_CHUNK_VALUES", 4_000)  # 8 rows at once
    assert (kernel_kmeans(points, 6, seed=2) == kept).all()


def test_separate_groups_are_found_also_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    group = rng.permutation(np.repeat([0, 1, 2], [300, 200, 100]))
    points = rng.normal(size=(600, 2)) * 0.1 + np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])[group]
    assert (kernel_kmeans(points, 3, seed=0) == group).all()
    monkeypatch.setattr(module, "MAX_EXACT", 100)
    monkeypatch.setattr(module, "_MAX_CACHED", 60)
    assert (kernel_kmeans(points, 3, seed=0) == group).all()
