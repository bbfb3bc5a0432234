"""Slow references in plain Python for the methods compared with the cold start.

Sources: k-means-to-budget (Yuan et al.), ALPS, CALR, TypiClust (Hacohen et al., ICML 2022), k-center greedy
(Sener and Savarese, ICLR 2018), ProbCover (Yehuda et al., NeurIPS 2022), USL (Wang, Lian and Yu, ECCV 2022)
and URDS (CSAL-3D, eqs. 9-12). Written from their rules without the selectors' code. Where these are silent,
we assume:

every cluster method
 1. One value of `labels` per row. Only TypiClust uses those of labelled rows; elsewhere labelled rows are not
    members. Every unlabelled row is a candidate.
 2. Clusters come by decreasing size (unlabelled members), then lowest label; with more clusters than budget,
    only the first ones. With fewer, every cluster gives its best, then its second best, and so on.
 3. A row's value is computed once, from the whole cluster, and not again after a pick.
 4. Values within 1e-9 of each other (relative; 1e-12 absolute) are ties: the lowest row. Two members of a
    cluster always tie by distance to the centre, similarity or typicality, whatever the rounding.
 5. Features are used unchanged (published USL uses unit vectors). The cosine with a zero vector is 0.
kmeans_to_budget, alps
 6. The centre is the mean of the unlabelled members. The second best has the next smallest (summed) distance.
calr
 7. The mean similarity is to the other members; with the row itself the order is the same.
typiclust
 8. The clustering is of all rows. Size, n_c and the nearest members count labelled members too; picks do not.
 9. Clusters are ordered once and take turns (as published); picks of this batch do not change the order.
    Small clusters are kept.
farthest_first
10. Without labels, the mean is over all rows.
probcover
11. A pick is the row whose ball contains the most uncovered unlabelled rows; with nothing left to cover, the
    lowest row.
12. delta: a ball is pure if all rows in it have its centre's label; purity is the share of pure balls
    (centres and contents: unlabelled rows). Candidates are the sorted pairwise distances; between two of them
    no ball changes, and purity only falls. 0 if none reaches 0.95 or there is only one row.
urds
13. Exactly n_cand candidates: ties in typicality go to the lowest row (eq. 11 would let all of them in). A
    further pick of a cluster is the most uncertain of the first n_cand left.
14. `urds_uncertainty_only` has no clusters: decreasing uncertainty; exact ties go to the lowest row.
usl
15. utility = density - weight * reg, with density = 1 / mean distance to the min(neighbours, n - 1) nearest
    unlabelled rows, of any cluster (no logarithm, as published).
16. reg starts at 0. After each of the rounds, reg = momentum * reg + (1 - momentum) * sum over the picks p of
    other clusters of 1 / distance(., p) ** alpha. The picks of the last round count, so with 1 round reg
    has no effect.
17. weight 0.5, alpha 0.5, momentum 0.9, 10 rounds. The distance is Euclidean; the published code raises its
    square to alpha, which is alpha = 1 here. neighbours 20 (400 of 50,000 images in the publication). No
    horizon.
18. Only clusters within the budget have picks; labelled rows are not picks. Distances are at least 1e-8.
cscs
19. Typicality = 1 / mean distance to the 20 nearest unlabelled rows, at most 1e8. Ties share their mean
    rank, also for Spearman's correlation, which is 0 if either is constant. Typicalities that differ by less
    than 1e-9 of the largest are equal. A lone row has rank 1.
clasp_pe
20. Without noise. At each step the stratum furthest below its share gives its best row; the image's own
    entropy is the first stratum, so ties go to it, then to the lowest class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

Point = Sequence[float]
EPS = 1e-8


def distance(a: Point, b: Point) -> float:
    return math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def cosine(a: Point, b: Point) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def mean(points: Sequence[Point]) -> list[float]:
    return [math.fsum(column) / len(points) for column in zip(*points, strict=True)]


def average(values: Iterable[float]) -> float:
    """Return the mean; 0 without values."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else 0.0


def lowest(rows: Iterable[int], cost: Callable[[int], float]) -> int:
    """Return the row of the smallest cost; near ties go to the lowest row."""
    costs = {i: cost(i) for i in rows}
    smallest = min(costs.values())
    return min(i for i in costs if math.isclose(costs[i], smallest, rel_tol=1e-9, abs_tol=1e-12))


def ranked(rows: Sequence[int], cost: Callable[[int], float]) -> list[int]:
    """Return all rows by increasing cost."""
    costs = {i: cost(i) for i in rows}
    order: list[int] = []
    while len(order) < len(rows):
        order.append(lowest([i for i in rows if i not in order], costs.__getitem__))
    return order


def unlabelled(count: int, labelled: Sequence[int]) -> list[int]:
    return [i for i in range(count) if i not in labelled]


def clusters(labels: Sequence[int], labelled: Sequence[int]) -> list[list[int]]:
    """Return the unlabelled members of each cluster, in hand-out order."""
    pool = unlabelled(len(labels), labelled)
    members = {label: [i for i in pool if labels[i] == label] for label in {labels[i] for i in pool}}
    return [members[label] for label in sorted(members, key=lambda label: (-len(members[label]), label))]


def in_turn(queues: Sequence[Sequence[int]], budget: int) -> list[int]:
    """Take the first of every queue, then the second, and so on, up to `budget` rows."""
    turns = range(max(map(len, queues), default=0))
    return [queue[turn] for turn in turns for queue in queues if turn < len(queue)][:budget]


def kmeans_to_budget(
    points: Sequence[Point], labels: Sequence[int], budget: int, labelled: Sequence[int] = ()
) -> list[int]:
    queues = []
    for members in clusters(labels, labelled):
        sums = {i: math.fsum(distance(points[i], points[j]) for j in members) for i in members}
        queues.append(ranked(members, sums.__getitem__))
    return in_turn(queues, budget)


def alps(
    points: Sequence[Point], labels: Sequence[int], budget: int, labelled: Sequence[int] = ()
) -> list[int]:
    queues = []
    for members in clusters(labels, labelled):
        centre = mean([points[i] for i in members])
        away = {i: distance(points[i], centre) for i in members}
        queues.append(ranked(members, away.__getitem__))
    return in_turn(queues, budget)


def unlikeness(points: Sequence[Point], row: int, members: Sequence[int]) -> float:
    """Return the mean of 1 - cosine to the other members: 1 - CALR's density, or 1 / URDS's typicality."""
    return average(1 - cosine(points[row], points[j]) for j in members if j != row)


def by_unlikeness(points: Sequence[Point], labels: Sequence[int], labelled: Sequence[int]) -> list[list[int]]:
    """Sort each cluster's members by dissimilarity, lowest first."""
    queues = []
    for members in clusters(labels, labelled):
        costs = {i: unlikeness(points, i, members) for i in members}
        queues.append(ranked(members, costs.__getitem__))
    return queues


def calr(
    points: Sequence[Point], labels: Sequence[int], budget: int, labelled: Sequence[int] = ()
) -> list[int]:
    return in_turn(by_unlikeness(points, labels, labelled), budget)


def typiclust(
    points: Sequence[Point], labels: Sequence[int], budget: int, labelled: Sequence[int] = ()
) -> list[int]:
    """Run TypiClust; `labels` of labelled rows count here."""
    everyone = {label: [i for i in range(len(points)) if labels[i] == label] for label in sorted(set(labels))}
    known = {label: sum(i in labelled for i in members) for label, members in everyone.items()}
    queues = []
    for label in sorted(everyone, key=lambda label: (known[label], -len(everyone[label]), label)):
        members = everyone[label]
        near = min(20, len(members) - 1)
        spread = {
            i: average(sorted(distance(points[i], points[j]) for j in members if j != i)[:near])
            for i in members
        }
        queues.append(ranked([i for i in members if i not in labelled], spread.__getitem__))
    return in_turn(queues, budget)


def farthest_first(points: Sequence[Point], budget: int, labelled: Sequence[int] = ()) -> list[int]:
    pool = unlabelled(len(points), labelled)
    picks: list[int] = []
    while len(picks) < min(budget, len(pool)):
        rest = [i for i in pool if i not in picks]
        chosen = [*labelled, *picks]
        if chosen:
            cost = {i: -min(distance(points[i], points[j]) for j in chosen) for i in rest}
        else:
            centre = mean(points)
            cost = {i: distance(points[i], centre) for i in rest}
        picks.append(lowest(rest, cost.__getitem__))
    return picks


def probcover(points: Sequence[Point], budget: int, delta: float, labelled: Sequence[int] = ()) -> list[int]:
    pool = unlabelled(len(points), labelled)
    ball = {i: {j for j in pool if distance(points[i], points[j]) <= delta} for i in range(len(points))}
    picks: list[int] = []
    while len(picks) < min(budget, len(pool)):
        covered = {j for i in [*labelled, *picks] for j in ball[i]}
        rest = [i for i in pool if i not in picks]
        picks.append(min(rest, key=lambda i: (-len(ball[i] - covered), i)))
    return picks


def probcover_delta(points: Sequence[Point], labels: Sequence[int], labelled: Sequence[int] = ()) -> float:
    """Return the largest pairwise distance at which at least 0.95 of the closed balls are pure."""
    pool = unlabelled(len(points), labelled)
    best = 0.0
    for delta in sorted({distance(points[i], points[j]) for i in pool for j in pool if i < j}):
        balls = {i: [j for j in pool if distance(points[i], points[j]) <= delta] for i in pool}
        pure = sum(all(labels[j] == labels[i] for j in ball) for i, ball in balls.items())
        if Fraction(pure, len(pool)) >= Fraction(95, 100):
            best = delta
    return best


def urds(
    points: Sequence[Point],
    labels: Sequence[int],
    uncertainty: Sequence[float],
    budget: int,
    n_cand: int = 3,
    labelled: Sequence[int] = (),
) -> list[int]:
    queues = []
    for typical in by_unlikeness(points, labels, labelled):
        queue: list[int] = []
        while typical:
            candidates = typical[:n_cand]
            best = min(candidates, key=lambda i: (-uncertainty[i], i))
            typical.remove(best)
            queue.append(best)
        queues.append(queue)
    return in_turn(queues, budget)


def urds_diversity_only(
    points: Sequence[Point], labels: Sequence[int], budget: int, labelled: Sequence[int] = ()
) -> list[int]:
    return in_turn(by_unlikeness(points, labels, labelled), budget)


def urds_uncertainty_only(
    uncertainty: Sequence[float], budget: int, labelled: Sequence[int] = ()
) -> list[int]:
    pool = unlabelled(len(uncertainty), labelled)
    return sorted(pool, key=lambda i: (-uncertainty[i], i))[:budget]


def usl(
    points: Sequence[Point],
    labels: Sequence[int],
    budget: int,
    labelled: Sequence[int] = (),
    neighbours: int = 20,
    weight: float = 0.5,
    alpha: float = 0.5,
    momentum: float = 0.9,
    rounds: int = 10,
) -> list[int]:
    def apart(i: int, j: int) -> float:
        return max(distance(points[i], points[j]), EPS)

    pool = unlabelled(len(points), labelled)
    groups = clusters(labels, labelled)[:budget]
    near = min(neighbours, len(pool) - 1)
    density = {
        i: 1 / max(average(sorted(distance(points[i], points[j]) for j in pool if j != i)[:near]), EPS)
        for i in pool
    }
    reg = dict.fromkeys(pool, 0.0)
    queues: list[list[int]] = []
    for _ in range(rounds):
        cost = {i: weight * reg[i] - density[i] for i in pool}
        queues = [ranked(members, cost.__getitem__) for members in groups]
        picks = [queue[0] for queue in queues]
        for members in groups:
            for i in members:
                close = math.fsum(1 / apart(i, p) ** alpha for p in picks if p not in members)
                reg[i] = momentum * reg[i] + (1 - momentum) * close
    return in_turn(queues, budget)


def clfps(points: Sequence[Point], budget: int, labelled: Sequence[int] = ()) -> list[int]:
    lengths = [math.hypot(*point) for point in points]
    unit = [[x / n if n else 0.0 for x in point] for point, n in zip(points, lengths, strict=True)]
    return farthest_first(unit, budget, labelled)


def ranks(values: Sequence[float]) -> list[float]:
    """Rank values from 1 for the smallest; ties share their mean rank."""
    return [
        1 + sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    left, right = ([r - (len(x) + 1) / 2 for r in ranks(x)] for x in (a, b))
    spread = math.sqrt(math.fsum(x * x for x in left) * math.fsum(y * y for y in right))
    return math.fsum(x * y for x, y in zip(left, right, strict=True)) / spread if spread else 0.0


def cscs(
    points: Sequence[Point],
    labels: Sequence[int],
    budget: int,
    uncertainty: Sequence[float],
    labelled: Sequence[int] = (),
) -> list[int]:
    pool = unlabelled(len(points), labelled)
    if not pool or not budget:
        return []
    typical = {}
    for i in pool:
        near = sorted(distance(points[i], points[j]) for j in pool if j != i)[:20]
        typical[i] = 1 / max(average(near), EPS)
    typical = {i: round(value / max(typical.values()), 9) for i, value in typical.items()}
    dcr = spearman([uncertainty[i] for i in pool], [typical[i] for i in pool])
    effective = min(budget, len(pool)) / math.sqrt(len(pool))
    gamma = min(0.7, max(0.3, 0.5 + dcr / 4 * effective / (1 + effective)))
    queues = []
    for members in clusters(labels, labelled):
        most = max(1, len(members) - 1)
        t, u = (
            [max(0.01, (r - 1) / most) if len(members) > 1 else 1.0 for r in ranks([x[i] for i in members])]
            for x in (typical, uncertainty)
        )
        score = {i: t[n] ** (1 - gamma) * u[n] ** gamma for n, i in enumerate(members)}
        queues.append(ranked(members, lambda i, score=score: -score[i]))
    return in_turn(queues, budget)


def clasp_pe(
    uncertainty: Sequence[float],
    class_entropy: Sequence[Sequence[float]],
    budget: int,
    labelled: Sequence[int] = (),
) -> list[int]:
    scores = [[image, *classes] for image, classes in zip(uncertainty, class_entropy, strict=True)]
    classes = len(class_entropy[0]) if len(class_entropy) else 0
    foreground = Fraction(66, 100) if classes else Fraction(0)
    shares = [1 - foreground, *([foreground / classes] * classes if classes else [])]
    given, picks = [0] * len(shares), list[int]()
    rest = unlabelled(len(uncertainty), labelled)
    while rest and len(picks) < budget:
        lack = [share * (len(picks) + 1) - had for share, had in zip(shares, given, strict=True)]
        stratum = lack.index(max(lack))
        best = min(rest, key=lambda i, stratum=stratum: (-scores[i][stratum], i))
        given[stratum] += 1
        picks.append(best)
        rest.remove(best)
    return picks
