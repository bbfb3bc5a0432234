"""Slow references in plain Python: a literal implementation of `docs/selection.md` without NumPy.

Everything is recomputed at every step. Cluster sizes and shares are exact fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

Point = Sequence[float]
EPS = 1e-8


def distance(a: Point, b: Point) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def medoid(points: Sequence[Point], members: Sequence[int]) -> int:
    sums = {i: math.fsum(distance(points[i], points[j]) for j in members) for i in members}
    smallest = min(sums.values())
    return min(i for i in members if math.isclose(sums[i], smallest, rel_tol=1e-12, abs_tol=0.0))


def allocate(sizes: Sequence[int], extra: int) -> list[int]:
    total = sum(sizes)
    shares = [Fraction(extra * size, total) for size in sizes]
    given = [min(round(share), size - 1) for share, size in zip(shares, sizes, strict=True)]
    while sum(given) < extra:
        room = [c for c in range(len(sizes)) if given[c] < sizes[c] - 1]
        given[min(room, key=lambda c: (given[c] - shares[c], c))] += 1
    while sum(given) > extra:
        some = [c for c in range(len(sizes)) if given[c] > 0]
        given[min(some, key=lambda c: (shares[c] - given[c], c))] -= 1
    return given


def cold_start(points: Sequence[Point], labels: Sequence[int], budget: int) -> list[tuple[int, str, float]]:
    """Return (row, role, distance) of each pick."""
    budget = min(budget, len(points))
    clusters = {label: [i for i in range(len(points)) if labels[i] == label] for label in sorted(set(labels))}
    largest_first = sorted(clusters, key=lambda label: (-len(clusters[label]), label))[:budget]
    medoids = {label: medoid(points, clusters[label]) for label in largest_first}
    picks = [(medoids[label], "medoid", 0.0) for label in largest_first]
    if budget <= len(clusters):
        return picks
    names = list(clusters)
    counts = allocate([len(clusters[label]) for label in names], budget - len(names))
    filled: list[tuple[float, int, int]] = []
    for label, count in zip(names, counts, strict=True):
        chosen = [medoids[label]]
        for _ in range(count):
            rest = [i for i in clusters[label] if i not in chosen]
            reach = {i: min(distance(points[i], points[j]) for j in chosen) for i in rest}
            best = min(rest, key=lambda i: (-reach[i], i))
            filled.append((-reach[best], label, best))
            chosen.append(best)
    return picks + [(row, "farthest", -negative) for negative, _, row in sorted(filled)]


def in_turn(rest: Sequence[int], chosen: Sequence[int], groups: Sequence[object] | None) -> list[int]:
    """Return the remaining rows of the groups with the fewest picks."""
    if groups is None:
        return list(rest)
    given = {i: sum(groups[j] == groups[i] for j in chosen) for i in rest}
    return [i for i in rest if given[i] == min(given.values())]


def cold_start_in_turns(
    points: Sequence[Point], labels: Sequence[int], budget: int, groups: Sequence[object]
) -> list[tuple[int, str, float]]:
    """Return (row, role, distance) of each pick, with groups."""
    clusters = {label: [i for i in range(len(points)) if labels[i] == label] for label in sorted(set(labels))}
    sizes = [len(rows) for rows in clusters.values()]
    extra = allocate(sizes, budget - len(sizes)) if budget > len(sizes) else [0] * len(sizes)
    share = dict(zip(clusters, extra, strict=True))
    chosen: list[int] = []
    picks: list[tuple[int, str, float]] = []
    while len(picks) < budget:
        now = in_turn([i for i in range(len(points)) if i not in chosen], chosen, groups)
        bare = [c for c, rows in clusters.items() if not set(rows) & set(chosen) and set(rows) & set(now)]
        if bare:
            rows = clusters[min(bare, key=lambda c: (-len(clusters[c]), c))]
            sums = {i: math.fsum(distance(points[i], points[j]) for j in rows) for i in rows if i in now}
            least = min(sums.values())
            best = min(i for i in sums if math.isclose(sums[i], least, rel_tol=1e-12, abs_tol=0.0))
            picks.append((best, "medoid", 0.0))
        else:
            now = [i for i in now if share[labels[i]] > 0] or now
            reach = {
                i: min(distance(points[i], points[j]) for j in chosen if labels[j] == labels[i]) for i in now
            }
            best = min(now, key=lambda i: (-reach[i], labels[i], i))
            share[labels[best]] -= 1
            picks.append((best, "farthest", reach[best]))
        chosen.append(best)
    return picks


def active(
    points: Sequence[Point],
    entropy: Sequence[float],
    budget: int,
    alpha: float,
    labelled: Sequence[int] = (),
    candidates: Sequence[int] | None = None,
    groups: Sequence[object] | None = None,
) -> list[tuple[int, float]]:
    """Return (row, score) of each pick."""
    pool = [i for i in range(len(points)) if i not in labelled]
    open_rows = [i for i in pool if candidates is None or i in candidates]
    if not open_rows:
        return []
    low, high = min(entropy[i] for i in pool), max(entropy[i] for i in pool)
    widest = max(distance(points[i], points[j]) for i in pool for j in pool)
    uncertain = {i: (entropy[i] - low) / (high - low + EPS) for i in pool}
    chosen: list[int] = []
    picks: list[tuple[int, float]] = []
    while len(picks) < min(budget, len(open_rows)):
        near = [*labelled, *chosen]
        score = {}
        for i in open_rows:
            reach = min((distance(points[i], points[j]) for j in near), default=0.0) / (widest + EPS)
            score[i] = alpha * reach + (1 - alpha) * uncertain[i]
        rest = in_turn([i for i in open_rows if i not in chosen], chosen, groups)
        best = min(rest, key=lambda i: (-score[i] if chosen else -entropy[i], i))
        picks.append((best, score[best]))
        chosen.append(best)
    return picks


def farthest_first(
    points: Sequence[Point], budget: int, labelled: Sequence[int], groups: Sequence[object] | None = None
) -> list[int]:
    """Return rows in order; needs at least one labelled row."""
    chosen = list(labelled)
    while len(chosen) < min(budget + len(labelled), len(points)):
        rest = [i for i in range(len(points)) if i not in chosen]
        rest = in_turn(rest, chosen[len(labelled) :], groups)
        chosen.append(min(rest, key=lambda i: (-min(distance(points[i], points[j]) for j in chosen), i)))
    return chosen[len(labelled) :]
