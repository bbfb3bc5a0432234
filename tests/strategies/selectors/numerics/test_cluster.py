"""cluster_by_silhouette and silhouette_null."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from strategies.selectors import cluster_by_silhouette, silhouette_null


def blobs(*sizes: int, columns: int = 2) -> np.ndarray:
    rng = np.random.default_rng(9)
    centres = rng.normal(size=(len(sizes), columns)) * 20
    parts = [centre + rng.normal(size=(size, columns)) for centre, size in zip(centres, sizes, strict=True)]
    return np.concatenate(parts)


@pytest.mark.parametrize("columns", [2, 50])
def test_finds_blobs_and_numbers_them_by_size(columns: int) -> None:
    points = blobs(10, 30, 20, columns=columns)
    found = cluster_by_silhouette(points, 8, seed=0)
    assert found.k == 3
    assert found.labels.tolist() == [2] * 10 + [0] * 30 + [1] * 20
    assert sorted(found.silhouettes) == list(range(2, 9))
    assert found.silhouettes[3] == pytest.approx(silhouette_score(points, found.labels))
    assert found.silhouettes[3] == max(found.silhouettes.values())


def test_clusters_of_equal_size_are_numbered_by_their_lowest_row() -> None:
    points = np.array([[9.0, 9.0], [0.0, 0.0], [9.0, 9.1], [0.0, 0.1]])
    assert cluster_by_silhouette(points, 2, seed=3).labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(("count", "most", "tried"), [(40, 30, 20), (5, 30, 4), (40, 3, 3), (3, 9, 2)])
def test_range_of_k(count: int, most: int, tried: int) -> None:
    points = np.random.default_rng(0).normal(size=(count, 2))
    assert sorted(cluster_by_silhouette(points, most, seed=0).silhouettes) == list(range(2, tried + 1))


@pytest.mark.parametrize(
    ("points", "most"),
    [(np.ones((5, 2)), 4), (np.eye(2), 4), ([[1.0, 2.0]], 4), (blobs(9, 9), 1), (blobs(9, 9), 0)],
)
def test_one_cluster(points: np.ndarray, most: int) -> None:
    found = cluster_by_silhouette(points, most, seed=0)
    assert (found.k, found.silhouettes) == (1, {})
    assert found.labels.tolist() == [0] * len(points)


def test_no_rows() -> None:
    found = cluster_by_silhouette([], 4, seed=0)
    assert (found.k, found.labels.tolist()) == (0, [])


def test_k_above_the_number_of_distinct_points_is_skipped() -> None:
    points = np.repeat([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]], 4, axis=0)
    found = cluster_by_silhouette(points, 9, seed=0)
    assert sorted(found.silhouettes) == [2, 3]
    assert found.k == 3


def test_collinear_points() -> None:
    found = cluster_by_silhouette([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0], [10.0, 10.0]], 3, seed=0)
    assert found.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("most", [-1, -5])
def test_negative_max_clusters(most: int) -> None:
    with pytest.raises(ValueError, match=str(most)):
        cluster_by_silhouette(blobs(9), most, seed=0)


def test_unusable_point_names_its_row() -> None:
    with pytest.raises(ValueError, match="row 1"):
        cluster_by_silhouette([[0.0, 0.0], [np.nan, 0.0]], 2, seed=0)


def test_same_in_another_process_with_other_threads() -> None:
    code = (
        "import numpy as np; from strategies.selectors import cluster_by_silhouette as c;"
        "f = c(np.random.default_rng(1).random((1500, 2)), 5, 7);"
        "print(f.silhouettes, np.bincount(f.labels), hash(f.labels.tobytes()))"
    )
    outputs = set()
    for threads in ("1", "4"):
        env = {"OMP_NUM_THREADS": threads, "PYTHONHASHSEED": "0"}
        other = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        )
        outputs.add(other.stdout)
    assert len(outputs) == 1


def test_null_tells_noise_from_clusters() -> None:
    noise = np.random.default_rng(2).random((60, 2))
    null = silhouette_null(noise, 6, seed=42, draws=8)
    assert 0.3 < null < 0.6
    assert null == silhouette_null(noise, 6, seed=42, draws=8)
    clear = blobs(20, 20, 20)
    assert max(cluster_by_silhouette(clear, 6, 42).silhouettes.values()) > silhouette_null(
        clear, 6, 42, draws=8
    )


def test_null_does_not_depend_on_scale() -> None:
    noise = np.random.default_rng(2).random((30, 2))
    assert silhouette_null(noise * 64, 4, 1, draws=3) == pytest.approx(silhouette_null(noise, 4, 1, draws=3))


@pytest.mark.parametrize(
    ("points", "most"),
    [
        ([], 4),
        (np.eye(2), 4),
        (np.ones((9, 2)), 4),
        (np.arange(9.0)[:, None] * [[1.0, 2.0]], 4),
        (np.random.default_rng(0).random((9, 3)), 4),
        (np.random.default_rng(0).random((9, 2)), 1),
    ],
)
def test_null_is_nan_where_it_means_nothing(points: Any, most: int) -> None:
    assert math.isnan(silhouette_null(points, most, seed=0))


def test_null_refuses_no_draws() -> None:
    with pytest.raises(ValueError, match="draws"):
        silhouette_null(blobs(9), 3, seed=0, draws=0)
