"""Speed of planning, the map and each step from the map to the picks, against plain implementations.

Part of `python -m benchmarks.speed`. Each comparison checks in the same run that both results agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from benchmarks.speed import plain_planning as plain
from benchmarks.speed.million import clustered_map, measure_apart
from benchmarks.speed.row import Row, median_seconds
from strategies import selectors
from strategies.refresh.projection import project
from strategies.selectors.numerics.cluster import MANY_POINTS, kmeans_sweep
from strategies.selectors.numerics.silhouette import exact_silhouettes, mean_silhouettes

SEED, ALPHA, BUDGET = 42, 0.3, 100
_NEIGHBOURS = 10  # neighbours compared between features and map


def timed(*works: Callable[[], Any], repeats: int) -> tuple[list[float], list[Any]]:
    """Return the median seconds and the result of each, after one warm-up run (compilation)."""
    with threadpool_limits(limits=1):
        first = [work() for work in works]
        return median_seconds(*works, repeats=repeats), first


def timed_once(*works: Callable[[], Any]) -> tuple[list[float], list[Any]]:
    """Return the seconds and the result of a single run of each, for work that takes minutes."""
    results: list[Any] = []
    keeping = [lambda work=work: results.append(work()) for work in works]
    with threadpool_limits(limits=1):
        return median_seconds(*keeping, repeats=1), results


def timed_slow(slow: Callable[[], Any], fast: Callable[[], Any]) -> tuple[list[float], list[Any]]:
    """Time `slow` with `timed_once` and `fast` with `timed`."""
    [slow_s], [slow_result] = timed_once(slow)
    [fast_s], [fast_result] = timed(fast, repeats=3)
    return [slow_s, fast_s], [slow_result, fast_result]


def small_map(quick: bool) -> Row:
    return _map(300 if quick else 1_000)


def large_map(quick: bool) -> Row:
    return _map(1_000 if quick else 10_000)


def _map(count: int) -> Row:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(20, 512))[rng.integers(0, 20, count)] + rng.normal(size=(count, 512))
    features /= np.arange(1, 513)  # as in image embeddings, few directions carry most of the variance
    tsne = TSNE(init="pca", random_state=SEED)
    (theirs_s, ours_s), maps = timed_once(
        lambda: tsne.fit_transform(features), lambda: project(features, "tsne", 30, SEED)
    )
    kept = [_neighbours_kept(features, points) for points in maps]
    return Row(
        f"2-D map of {count:,} images, 512 features",
        "scikit-learn t-SNE",
        "PCA to 50, openTSNE",
        theirs_s,
        ours_s,
        f"of the {_NEIGHBOURS} nearest images, {kept[0]:.0%} (theirs) and {kept[1]:.0%} (ours) stay so",
    )


def _neighbours_kept(features: np.ndarray, points: np.ndarray) -> float:
    near = [
        NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(where).kneighbors(return_distance=False)
        for where in (features, points)
    ]
    both = [len(set(a) & set(b)) for a, b in zip(*near, strict=True)]
    return sum(both) / (_NEIGHBOURS * len(both))


def kmeans_of_all_k(quick: bool) -> Row:
    points = clustered_map(20_000 if quick else 100_000)
    (theirs_s, ours_s), (theirs, ours) = timed_slow(
        lambda: {k: KMeans(k, n_init=10, random_state=SEED).fit_predict(points) for k in range(2, 21)},
        lambda: kmeans_sweep(points, 20, SEED, 1),
    )
    worse = [_scatter(points, ours[k]) / _scatter(points, theirs[k]) - 1 for k in ours]
    best = [max(zip(mean_silhouettes(points, list(f.values())), f, strict=True))[1] for f in (theirs, ours)]
    return Row(
        f"k-means, k = 2 .. 20, {len(points):,} points",
        "scikit-learn, 10 starts",
        "1 start, numba",
        theirs_s,
        ours_s,
        f"k {best[0]} and {best[1]}; sum of squares {np.mean(worse):+.2%}, at most {max(worse):+.2%}",
    )


def kmeans_same_starts(quick: bool) -> Row:
    points, starts = clustered_map(2_000 if quick else MANY_POINTS), 10
    (theirs_s, ours_s), (theirs, ours) = timed_slow(
        lambda: {k: KMeans(k, n_init=starts, random_state=SEED).fit_predict(points) for k in range(2, 21)},
        lambda: kmeans_sweep(points, 20, SEED, starts),
    )
    work = f"k-means, k = 2 .. 20, {starts} starts, {len(points):,} points"
    same = theirs.keys() == ours.keys() and all((theirs[k] == ours[k]).all() for k in ours)
    return Row(work, "scikit-learn", "numba", theirs_s, ours_s, _agreement(same, "labels"))


def _scatter(points: np.ndarray, labels: np.ndarray) -> float:
    return float(sum(((points[labels == k] - points[labels == k].mean(0)) ** 2).sum() for k in set(labels)))


def silhouette(quick: bool) -> Row:
    points = clustered_map(2_000 if quick else 10_000)
    [labels] = _labellings(points, [12])
    (theirs_s, ours_s), (theirs, ours) = timed(
        lambda: silhouette_score(points, labels), lambda: mean_silhouettes(points, [labels])[0], repeats=3
    )
    return _silhouette_row(points, "one labelling", "exact, numba", theirs_s, ours_s, abs(theirs - ours))


def silhouette_of_all_k(quick: bool) -> Row:
    points = clustered_map(2_000 if quick else 10_000)
    labellings = _labellings(points, range(2, 21))
    (theirs_s, ours_s), (theirs, ours) = timed_slow(
        lambda: [silhouette_score(points, labels) for labels in labellings],
        lambda: mean_silhouettes(points, labellings),
    )
    error = float(np.abs(np.subtract(theirs, ours)).max())
    return _silhouette_row(points, "k = 2 .. 20", "exact, numba, all k in one pass", theirs_s, ours_s, error)


def silhouette_on_grid(quick: bool) -> Row:
    points = clustered_map(35_000 if quick else 100_000)
    labellings = _labellings(points, range(2, 21))
    rows = np.arange(len(points))
    (theirs_s, ours_s), (theirs, ours) = timed_slow(
        lambda: exact_silhouettes(points, np.stack(labellings), rows),
        lambda: mean_silhouettes(points, labellings),
    )
    same = f"k {np.argmax(theirs) + 2} and {np.argmax(ours) + 2}; error {np.abs(theirs - ours).max():.0e}"
    return Row(
        f"silhouette, k = 2 .. 20, {len(points):,} points",
        "exact, numba (ours)",
        "FFT on a grid",
        theirs_s,
        ours_s,
        same,
    )


def _labellings(points: np.ndarray, clusters: Sequence[int]) -> list[np.ndarray]:
    with threadpool_limits(limits=1):
        labellings = [KMeans(k, n_init=1, random_state=SEED).fit_predict(points) for k in clusters]
    return [labels.astype(np.int64) for labels in labellings]


def _silhouette_row(
    points: np.ndarray,
    what: str,
    how: str,
    theirs_s: float,
    ours_s: float,
    error: float,
) -> Row:
    work = f"silhouette, {what}, {len(points):,} points"
    return Row(work, "scikit-learn", how, theirs_s, ours_s, f"error {error:.0e}")


def medoid(quick: bool) -> Row:
    points = np.random.default_rng(1).normal(size=(5_000 if quick else 100_000, 2))
    (theirs_s, ours_s), (theirs, ours) = timed_slow(
        lambda: plain.medoid(points), lambda: selectors.medoid(points, np.arange(len(points)))
    )
    work, same = f"medoid of one cluster, {len(points):,} points", _agreement(theirs == ours, "row")
    return Row(work, "SciPy, all pairs in blocks", "convex cutting planes", theirs_s, ours_s, same)


def diameter(quick: bool) -> Row:
    points = np.random.default_rng(1).normal(size=(5_000 if quick else 100_000, 2))
    (theirs_s, ours_s), (theirs, ours) = timed_slow(
        lambda: plain.diameter(points), lambda: selectors.diameter(points)
    )
    work, same = f"largest distance, {len(points):,} points", _agreement(theirs == ours, "number, to the bit")
    return Row(work, "SciPy, all pairs in blocks", "convex hull", theirs_s, ours_s, same)


def greedy_farthest(quick: bool) -> Row:
    points, budget = clustered_map(2_000 if quick else 10_000), 200 if quick else 1_000
    (theirs_s, ours_s), (theirs, ours) = timed_slow(
        lambda: plain.farthest(points, [0], budget),
        lambda: selectors.farthest_first(points, budget, labelled=[0]).picks.tolist(),
    )
    return _greedy_row("farthest-first", points, budget, theirs_s, ours_s, theirs == ours)


def greedy_active(quick: bool) -> Row:
    points, budget = clustered_map(2_000 if quick else 10_000), 200 if quick else 1_000
    entropy, labelled = _entropy(points), list(range(50))
    (theirs_s, ours_s), (theirs, ours) = timed_slow(
        lambda: plain.active(points, entropy, budget, ALPHA, labelled),
        lambda: selectors.active(points, entropy, budget, ALPHA, labelled).picks.tolist(),
    )
    return _greedy_row("active greedy", points, budget, theirs_s, ours_s, theirs == ours)


def _greedy_row(what: str, points: np.ndarray, budget: int, theirs: float, ours: float, same: bool) -> Row:
    work = f"{what}, {budget:,} of {len(points):,} points"
    return Row(
        work,
        "SciPy, anew at each pick",
        "the last pick only",
        theirs,
        ours,
        _agreement(same, "picks in order"),
    )


def round_of_planning(quick: bool) -> Row:
    return _round(1_500 if quick else 10_000, None if quick else 20.0)


def round_with_one_start(quick: bool) -> Row:
    return _round(MANY_POINTS + (500 if quick else 2_000), None)


def _round(count: int, goal: float | None) -> Row:
    """Choose k, cluster, find medoids, allocate, fill, then plan a round of active picks."""
    points, starts = clustered_map(count), 10 if count <= MANY_POINTS else 1
    entropy = _entropy(points)

    def theirs() -> list[int]:
        labels = plain.best_clustering(points, SEED, starts)
        first = plain.cold_start(points, labels, BUDGET)
        return first + plain.active(points, entropy, BUDGET, ALPHA, first)

    def ours() -> list[int]:
        labels = selectors.cluster_by_silhouette(points, 20, SEED).labels
        first = selectors.cold_start(points, labels, BUDGET).picks
        return sorted(first.tolist()) + selectors.active(points, entropy, BUDGET, ALPHA, first).picks.tolist()

    (theirs_s, ours_s), picks = timed_slow(theirs, ours)
    return Row(
        f"planning a round: k of 2 .. 20, {BUDGET} cold and {BUDGET} active picks, {count:,} points",
        "scikit-learn and SciPy",
        "all of the above",
        theirs_s,
        ours_s,
        _agreement(picks[0] == picks[1], f"{2 * BUDGET} picks"),
        goal,
    )


def large_round(quick: bool) -> Row:
    """Plan a round with the pool's database, in its own process."""
    count = 5_000 if quick else 100_000
    measured = measure_apart(count)
    cold, active, memory = measured["cold_plan_s"], measured["active_plan_s"], measured["peak_memory_mb"]
    return Row(
        f"planning a round from database to database, {count:,} images",
        "none: its silhouettes alone are 100 times those of 10,000 points",
        "cold start with its null test, and active",
        None,
        cold + active,
        "the steps are compared above",
        limit_s=15.0,
        note=f"cold start {cold:.1f} s with compiling, active {active:.1f} s. "
        f"At most 2,000 MB of memory: {'reached' if memory <= 2_000 else 'not reached'} ({memory:.0f})",
    )


def _entropy(points: np.ndarray) -> np.ndarray:
    return np.random.default_rng(2).uniform(0.1, 0.6, len(points))


def _agreement(is_same: bool, what: str) -> str:
    return f"the same {what}" if is_same else f"NOT the same {what}"


COMPARISONS = (
    small_map,
    kmeans_of_all_k,
    kmeans_same_starts,
    silhouette,
    silhouette_of_all_k,
    silhouette_on_grid,
    medoid,
    diameter,
    greedy_farthest,
    greedy_active,
    round_of_planning,
    round_with_one_start,
    large_round,
    large_map,
)


def rows(quick: bool) -> Iterator[Row]:
    """Yield all comparisons as they are measured."""
    return (compare(quick) for compare in COMPARISONS)
