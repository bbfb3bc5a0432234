"""Rules that cover or represent the pool: against brute force in plain Python, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
import pytest

from strategies import selectors
from strategies.selectors.numerics.components import principal_components
from strategies.selectors.numerics.tail_mean import tail_means
from strategies.selectors.registry import METHODS
from strategies.selectors.rules.greedy import MAX_POOL
from strategies.selectors.rules.showing import likely_to_show

Points = Sequence[Sequence[float]]
Case = dict[str, Any]


def cvar(values: Sequence[float], weights: Sequence[float], share: float = 0.1) -> float:
    """The mean of the largest values that together have a share of the weight."""
    left = mass = share * sum(weights)
    total = 0.0
    for value, weight in sorted(zip(values, weights, strict=True), reverse=True):
        total += min(weight, left) * value
        left -= min(weight, left)
    return total / mass if mass > 0 else 0.0


def best(rows: Sequence[int], loss: Callable[[int], float]) -> int:
    """The row with the smallest loss, the lowest of those tied but for rounding."""
    losses = {row: loss(row) for row in rows}
    return min(row for row, value in losses.items() if value <= min(losses.values()) * (1 + 1e-11))


def cover(points: Points, weights: Sequence[float], chosen: Sequence[int], tail: bool = True) -> float:
    nearest = [min(math.dist(p, points[c]) for c in chosen) for p in points]
    mean = sum(w * m for w, m in zip(weights, nearest, strict=True)) / max(sum(weights), 1e-12)
    return mean + (cvar(nearest, weights) if tail else 0.0)


def missed(points: Points, weights: Sequence[float], chosen: Sequence[int], width: float) -> float:
    """The share of the pool that is not represented."""
    best_of = [max(math.exp(-((math.dist(p, points[c]) / width) ** 2)) for c in chosen) for p in points]
    return sum(w * (1 - k) for w, k in zip(weights, best_of, strict=True)) / max(sum(weights), 1e-12)


def tail_cover(case: Case) -> list[int]:
    points, picks = case["points"].tolist(), list[int]()
    open_rows = [row for row in range(len(points)) if row not in case["labelled"]]
    while open_rows and len(picks) < case["budget"]:
        known = [*case["labelled"], *picks]
        picks.append(best(open_rows, lambda row: cover(points, [1.0] * len(points), [*known, row])))  # noqa: B023
        open_rows.remove(picks[-1])
    return picks


def herding(case: Case, weights: list[float], narrow: bool, adapts: bool) -> list[int]:
    points, picks, labelled = case["points"].tolist(), list[int](), case["labelled"]
    pairs = [math.dist(a, b) for i, a in enumerate(points) for b in points[:i]]
    width = widest = median(pairs) if pairs else 0.0
    if adapts:
        gaps = [math.dist(points[a], points[b]) for a in labelled for b in labelled if a < b]
        width = min(widest, max([widest / 2, *([min(gaps)] if gaps else [widest])]))
    open_rows = [row for row in range(len(points)) if row not in labelled]
    while open_rows and len(picks) < case["budget"]:
        among = likeliest(open_rows, case["p"]) if narrow else open_rows
        known = [*labelled, *picks]
        loss = lambda row: missed(points, weights, [*known, row], max(width, 1e-12))  # noqa: B023, E731
        picks.append(best(among, loss))
        open_rows.remove(picks[-1])
    return picks


def likeliest(rows: Sequence[int], p: Sequence[float]) -> list[int]:
    count = max(1, math.ceil(0.1 * len(rows)))
    least = min(0.7, sorted((p[row] for row in rows), reverse=True)[count - 1])
    return [row for row in rows if p[row] >= least]


def foreground_cover(case: Case) -> list[int]:
    points, picks, labelled, p = case["points"].tolist(), list[int](), case["labelled"], case["p"].tolist()
    weights = [float(p[row] >= 0.5) if row in labelled else p[row] for row in range(len(points))]
    open_rows = [row for row in range(len(points)) if row not in labelled]
    while open_rows and len(picks) < case["budget"]:
        covering = [*(row for row in labelled if weights[row]), *picks]
        shown = any(weights[row] > 0.5 for row in covering)
        known = covering if shown else [*labelled, *picks]
        loss = lambda row: cover(points, weights, [*known, row], shown)  # noqa: B023, E731
        picks.append(best(likeliest(open_rows, p), loss))
        open_rows.remove(picks[-1])
    return picks


def unlabelled(case: Case, values: Sequence[float]) -> list[float]:
    return [0.0 if row in case["labelled"] else float(value) for row, value in enumerate(values)]


REFERENCES: dict[str, Callable[[Case], list[int]]] = {
    "tail_cover": tail_cover,
    "maxherding": lambda case: herding(case, [1.0] * len(case["points"]), False, False),
    "uherding": lambda case: herding(case, unlabelled(case, case["u"]), False, True),
    "foreground_cover": foreground_cover,
    "foreground_uherding": lambda case: herding(case, unlabelled(case, case["p"] * case["u"]), True, True),
}


def cases(kind: str) -> Iterator[Case]:
    """Draw small pools with labels, chances to show something and uncertainties."""
    rng = np.random.default_rng(len(kind))
    for _ in range(40):
        count, columns = int(rng.integers(1, 16)), int(rng.choice([1, 2, 9]))
        points = rng.normal(size=(count, columns))
        if kind == "grid":  # full of ties and of identical rows
            points = rng.integers(-2, 3, size=(count, columns)).astype(float)
        yield {
            "points": points,
            "labelled": sorted(rng.choice(count, size=int(rng.integers(0, count)), replace=False).tolist()),
            "budget": int(rng.integers(0, count + 2)),
            "p": rng.integers(0, 5, count) / 4 if kind == "grid" else rng.random(count),
            "u": rng.integers(0, 4, count) / 4 if kind == "grid" else rng.random(count),
        }


def run(name: str, case: Case, budget: int, **more: Any) -> selectors.Selection:
    values = {"uncertainty": case["u"], "foreground": case["p"]}
    more = {key: values[key] for key in METHODS[name].values} | more
    more |= {"calibrated": 0} if "uncertainty" in more else {}
    return METHODS[name].select(case["points"], budget, **{"labelled": case["labelled"], **more})


@pytest.mark.parametrize("kind", ["normal", "grid"])
@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_picks_are_those_of_brute_force(name: str, kind: str) -> None:
    for number, case in enumerate(cases(kind)):
        assert run(name, case, case["budget"]).picks.tolist() == REFERENCES[name](case), (number, case)


@pytest.mark.parametrize("name", ["tail_cover", "maxherding"])
def test_picking_one_at_a_time_gives_the_same_picks(name: str) -> None:
    for case in cases("normal"):
        labelled, picks = list(case["labelled"]), list[int]()
        for row in run(name, case, 5).picks.tolist():
            assert run(name, case, 1, labelled=labelled).picks.tolist() == [row]
            labelled.append(row)
            picks.append(row)
        assert run(name, case, 1, labelled=case["labelled"], picked=picks).picks.tolist() == (
            run(name, case, 1, labelled=labelled).picks.tolist()
        ), "what is in somebody's hands counts like a label"


def test_earlier_picks_and_labels_count_for_their_groups() -> None:
    case = next(c for c in cases("normal") if len(c["points"]) > 8)
    count = len(case["points"])
    for name in sorted(REFERENCES):
        case["labelled"] = [0]
        picks = run(name, case, count, groups=np.arange(count) // 2, picked=[0, 2]).picks.tolist()
        assert not {0, 2} & set(picks)
        assert not {1, 3} & set(picks[: (count + 1) // 2 - 2]), "groups that gave a pick wait for the others"


def test_tail_cover_by_hand() -> None:
    # one row in ten is the tail: without labels, row 2 leaves (3 + 2 + 7 * 0 + 10) / 10 + 10
    points = np.array([-3.0, -2, 0, 0, 0, 0, 0, 0, 0, 10])[:, None]
    chosen = selectors.tail_cover(points, 2)
    # at 0 the sum is 1.5 + 10; at 10 it is (13 + 12 + 70) / 10 + 13; at -2 it is (1 + 14 + 12) / 10 + 12
    assert chosen.picks.tolist() == [2, 9]
    assert chosen.evidence["mean"].tolist() == pytest.approx([1.5, 0.5])
    assert chosen.evidence["tail"].tolist() == pytest.approx([10, 3])
    assert chosen.evidence["distance"].tolist() == [0, 10]


def test_maxherding_by_hand() -> None:
    # distances 1, 4, 5: the width is 4; the middle row is the most similar to all
    chosen = selectors.maxherding([[0.0], [1.0], [5.0]], 1)
    assert chosen.picks.tolist() == [1]
    wanted = (math.exp(-1 / 16) + 1 + math.exp(-1)) / 3
    assert chosen.evidence["represented"][0] == pytest.approx(wanted)
    assert chosen.evidence["gain"][0] == pytest.approx(wanted)


def test_uncertainty_counts_from_the_twelfth_label() -> None:
    points = np.random.default_rng(3).normal(size=(40, 2))
    unsure = np.where(np.arange(40) == 39, 50.0, 0.01)
    few = selectors.uherding(points, 1, uncertainty=unsure, labelled=range(11))
    assert few.evidence["role"][0] == "herding" and few.evidence["uncertainty"][0] == 1
    equal = selectors.uherding(points, 1, uncertainty=np.ones(40), labelled=range(11))
    assert few.picks.tolist() == equal.picks.tolist()
    enough = selectors.uherding(points, 1, uncertainty=unsure, labelled=range(12))
    assert enough.picks.tolist() == [39] and enough.evidence["role"][0] == "uncertain"


def test_foreground_cover_leaves_out_what_is_near_what_shows_something() -> None:
    points = np.array([0.0, 0.1, 5.0, 5.1, 9.0])[:, None]
    p = [1.0, 0.99, 0.96, 0.97, 0.0]
    chosen = selectors.foreground_cover(points, 1, foreground=p, labelled=[0])
    assert chosen.picks.tolist() == [3] and chosen.evidence["role"].tolist() == ["likely"]
    empty = selectors.foreground_cover(points, 1, foreground=[0.0, *p[1:]], labelled=[0])
    assert empty.evidence["role"].tolist() == ["typical"] and empty.picks.tolist() == [3]
    p = [1.0, 0.5, 0.2, 0.2, 0.0]
    doubtful = selectors.foreground_cover(points, 1, foreground=p, labelled=[0])
    assert doubtful.evidence["role"].tolist() == ["doubtful"]


def test_foreground_cover_explores_what_it_is_told_to() -> None:
    points, p = np.random.default_rng(1).normal(size=(30, 3)), np.linspace(0, 1, 30)
    chosen = selectors.foreground_cover(points, 10, foreground=p, explore=0.2)
    assert [i for i, role in enumerate(chosen.evidence["role"]) if role == "unclear"] == [4, 9]
    assert chosen.picks[4] == 14 and chosen.evidence["foreground"][4] == pytest.approx(14 / 29)


def test_the_position_in_the_volume_tells_what_is_empty() -> None:
    # labels in the middle and at one end; p by position of the rows between them
    position = np.array([0.5, 0.0, 0.45, 0.05, np.nan])
    p, shows = likely_to_show(
        [1.0, 0.0, 0.5, 0.5, 0.3], position, np.array([0, 1]), np.array([2, 3, 4]), 5, eta=0.0
    )
    assert shows[:2].tolist() == [1, 0] and p[:2].tolist() == [1, 0] and p[4] == 0.3
    near, far = math.exp(-((0.05 / 0.15) ** 2)), math.exp(-((0.45 / 0.15) ** 2))
    by_place = (0.5 + near) / (1 + near + far)
    odds = math.sqrt(by_place / (1 - by_place))  # the mean of its log-odds and of those of 1/2
    assert p[2] == pytest.approx(odds / (1 + odds)) and p[3] == pytest.approx(1 / (1 + odds))
    ends = likely_to_show([0.5, 0.5], [0.0, 0.5], np.zeros(0, int), np.array([0, 1]), 2)[0]
    assert ends[0] < ends[1] < 0.5, "the ends of a volume are mostly empty"
    with pytest.raises(ValueError, match="position must have one value"):
        likely_to_show([0.5, 0.5], [0.0, 1.5], np.zeros(0, int), np.array([0, 1]), 2)


def test_tail_means_are_those_of_sorted_values() -> None:
    rng = np.random.default_rng(4)
    values, weights = rng.integers(0, 6, (30, 17)) / 2, rng.random(17) * (rng.random(17) < 0.7)
    for share in (0.05, 0.1, 0.5, 1.0):
        wanted = [cvar(row, weights.tolist(), share) for row in values.tolist()]
        assert tail_means(values, weights, share) == pytest.approx(wanted)
    assert tail_means(values, np.zeros(17), 0.1).tolist() == [0] * 30


def test_components_keep_the_distances_that_matter() -> None:
    rng = np.random.default_rng(5)
    points = rng.normal(size=(300, 60)) * 2.0 ** -np.arange(60) + 7
    components = principal_components(points)
    assert components.shape == (300, 16)
    centred = points - points.mean(axis=0)
    exact = np.linalg.svd(centred, full_matrices=False)
    wanted = centred @ exact[2][:16].T
    assert np.abs(components) == pytest.approx(np.abs(wanted), abs=1e-8)
    order = rng.permutation(300)
    assert principal_components(points[order]) == pytest.approx(components[order], abs=1e-8)
    assert principal_components(points[:, :16]) is not None and principal_components(points[:9]).shape == (
        9,
        16,
    )


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_components_may_be_passed_instead_of_features(name: str) -> None:
    rng = np.random.default_rng(6)
    features = rng.normal(size=(60, 40)) * 1.5 ** -np.arange(40)
    case = {"labelled": [3, 9], "p": rng.random(60), "u": rng.random(60)}
    whole = run(name, case | {"points": features}, 8)
    reduced = run(name, case | {"points": principal_components(features)}, 8)
    assert whole.picks.tolist() == reduced.picks.tolist()


def test_a_large_pool_is_covered_by_a_sample_as_well_as_by_all_of_it() -> None:
    points = np.random.default_rng(7).normal(size=(MAX_POOL + 500, 2))
    chosen = selectors.tail_cover(points, 6, seed=1)
    assert chosen.picks.tolist() == selectors.tail_cover(points, 6, seed=1).picks.tolist()
    nearest = np.linalg.norm(points[:, None] - points[chosen.picks], axis=2).min(axis=1)
    tail = np.sort(nearest)[-len(nearest) // 10 :].mean()
    assert nearest.mean() + tail == pytest.approx(
        chosen.evidence["mean"][-1] + chosen.evidence["tail"][-1], rel=0.05
    )


def test_the_weight_of_the_tail_decides_between_the_many_and_the_far() -> None:
    points = np.array([0.0] + [3.0] * 36 + [20.0, 21.0])[:, None]
    known: dict[str, Any] = {"labelled": [0], "foreground": np.ones(39), "share": 1.0, "sure": 0.0}
    picks = [selectors.foreground_cover(points, 1, tail=tail, **known).picks[0] for tail in (0.0, 1.0)]
    assert picks == [1, 37]
    with pytest.raises(ValueError, match=r"tail must be at least 0, not -1\.0"):
        selectors.foreground_cover(points, 1, tail=-1.0, **known)
