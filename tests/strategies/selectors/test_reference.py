"""All selectors, given a clustering, against the slow reference on random cases with many ties."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from strategies import selectors

CASES = 60
Case = dict[str, Any]


def cases(kind: str) -> Iterator[Case]:
    """Draw small pools: points, a clustering, uncertainties, labelled rows, a budget."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    for _ in range(CASES):
        count, columns = int(rng.integers(1, 18)), int(rng.choice([1, 2, 3, 9]))
        points = rng.normal(size=(count, columns))
        if kind == "grid":  # full of ties and of identical rows
            points = rng.integers(-2, 3, size=(count, columns)).astype(float)
        if kind == "lines":
            points = np.outer(rng.integers(0, 9, count), np.ones(columns)) / 4
        if kind == "thirds":  # ties but for rounding
            points = np.outer(rng.integers(0, 9, count), np.ones(columns)) / 3
        yield {
            "points": points,
            "labels": rng.integers(0, int(rng.integers(1, 6)), count) * 7 - 7,
            "uncertainty": rng.integers(0, 4, count) / 4 if rng.random() < 0.5 else rng.random(count),
            "labelled": rng.choice(count, size=int(rng.integers(0, count)), replace=False).tolist(),
            "budget": int(rng.integers(0, count + 3)),
            "delta": float(rng.choice([0.0, 1 / 3, 1.0, 2.0])),
            "n_cand": int(rng.integers(1, 5)),
            "class_entropy": rng.integers(0, 5, (count, int(rng.integers(0, 4)))) / 4,
        }


def clustered(name: str, *more: str) -> Callable[[ModuleType, Case], tuple[list[int], list[int]]]:
    """Return the picks of a method and of its reference, with the arguments `more`."""

    def both(methods: ModuleType, case: Case) -> tuple[list[int], list[int]]:
        extra = {key: case[key] for key in more}
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in extra.items()}
        chosen = getattr(selectors, name)(
            case["points"], case["budget"], labelled=case["labelled"], labels=case["labels"], **extra
        )
        wanted = getattr(methods, name)(
            case["points"].tolist(),
            case["labels"].tolist(),
            budget=case["budget"],
            labelled=case["labelled"],
            **plain,
        )
        return chosen.picks.tolist(), wanted

    return both


def farthest_first(methods: ModuleType, case: Case) -> tuple[list[int], list[int]]:
    points, budget, labelled = case["points"], case["budget"], case["labelled"]
    chosen = selectors.farthest_first(points, budget, labelled=labelled)
    return chosen.picks.tolist(), methods.farthest_first(points.tolist(), budget, labelled)


def clfps(methods: ModuleType, case: Case) -> tuple[list[int], list[int]]:
    points, budget, labelled = case["points"], case["budget"], case["labelled"]
    chosen = selectors.clfps(points, budget, labelled=labelled)
    return chosen.picks.tolist(), methods.clfps(points.tolist(), budget, labelled)


def clasp_pe(methods: ModuleType, case: Case) -> tuple[list[int], list[int]]:
    budget, labelled, unsure, classes = (
        case[k] for k in ("budget", "labelled", "uncertainty", "class_entropy")
    )
    chosen = selectors.clasp_pe(
        case["points"],
        budget,
        uncertainty=unsure,
        class_entropy=classes,
        labelled=labelled,
        beta=np.inf,
    )
    return chosen.picks.tolist(), methods.clasp_pe(unsure.tolist(), classes.tolist(), budget, labelled)


def probcover(methods: ModuleType, case: Case) -> tuple[list[int], list[int]]:
    points, budget, labelled, delta = (case[k] for k in ("points", "budget", "labelled", "delta"))
    chosen = selectors.probcover(points, budget, labelled=labelled, delta=delta)
    return chosen.picks.tolist(), methods.probcover(points.tolist(), budget, delta, labelled)


def urds_uncertainty_only(methods: ModuleType, case: Case) -> tuple[list[int], list[int]]:
    budget, labelled, unsure = case["budget"], case["labelled"], case["uncertainty"]
    chosen = selectors.urds_uncertainty_only(case["points"], budget, labelled=labelled, uncertainty=unsure)
    return chosen.picks.tolist(), methods.urds_uncertainty_only(unsure.tolist(), budget, labelled)


BOTH = {
    "kmeans_to_budget": clustered("kmeans_to_budget"),
    "alps": clustered("alps"),
    "calr": clustered("calr"),
    "typiclust": clustered("typiclust"),
    "urds": clustered("urds", "uncertainty", "n_cand"),
    "urds_diversity_only": clustered("urds_diversity_only"),
    "usl": clustered("usl"),
    "cscs": clustered("cscs", "uncertainty"),
    "clasp_pe": clasp_pe,
    "clfps": clfps,
    "farthest_first": farthest_first,
    "probcover": probcover,
    "urds_uncertainty_only": urds_uncertainty_only,
}


@pytest.mark.parametrize("kind", ["normal", "grid", "lines"])
@pytest.mark.parametrize("name", sorted(BOTH))
def test_picks_agree(methods: ModuleType, name: str, kind: str) -> None:
    for number, case in enumerate(cases(kind)):
        if name == "clfps" and kind != "normal":  # its own arithmetic, not that of the case, makes ties
            case["points"] = case["points"] + np.random.default_rng(number).random(case["points"].shape)
        chosen, wanted = BOTH[name](methods, case)
        assert chosen == wanted, (number, case)


@pytest.mark.parametrize("name", ["alps", "calr", "kmeans_to_budget", "typiclust", "urds", "usl"])
def test_picks_agree_where_only_rounding_breaks_ties(methods: ModuleType, name: str) -> None:
    for number, case in enumerate(cases("thirds")):
        chosen, wanted = BOTH[name](methods, case)
        assert chosen == wanted, (number, case)


@pytest.mark.parametrize("kind", ["normal", "grid", "lines"])
def test_radius_is_the_largest_with_pure_balls(methods: ModuleType, kind: str) -> None:
    """The reference only tries distances between unlabelled rows; up to the next of them no ball changes."""
    for case in cases(kind):
        points, budget, labelled, labels = (case[k] for k in ("points", "budget", "labelled", "labels"))
        chosen = selectors.probcover(points, budget, labelled=labelled, labels=labels)
        if not len(chosen.picks):
            continue
        least = methods.probcover_delta(points.tolist(), labels.tolist(), labelled)
        pool = np.delete(points, labelled, axis=0)
        gaps = np.linalg.norm(pool[:, None] - pool, axis=-1).ravel()
        delta = chosen.evidence["delta"][0]
        assert delta >= least * (1 - 1e-15)
        assert not ((gaps > least * (1 + 1e-12)) & (gaps <= delta)).any()
        if len(set(np.delete(labels, labelled))) > 1:  # with one label delta is itself such a distance
            picks = methods.probcover(points.tolist(), budget, delta * (1 - 1e-12), labelled)
            assert chosen.picks.tolist() == picks


def test_noise_draws_in_proportion_to_a_power_of_the_entropy() -> None:
    """First picks of 4,000 seeds against the probabilities of power noising: s^beta / sum s^beta."""
    entropy = np.array([0.1, 0.2, 0.4, 0.3])
    firsts = [
        selectors.clasp_pe(
            np.zeros((4, 1)), 1, uncertainty=entropy, class_entropy=np.zeros((4, 0)), beta=2, seed=seed
        ).picks[0]
        for seed in range(4000)
    ]
    share = np.bincount(firsts, minlength=4) / 4000
    assert share == pytest.approx(entropy**2 / (entropy**2).sum(), abs=0.03)


def test_random_takes_one_image_of_each_patient_before_a_second() -> None:
    rows, patients = np.zeros((12, 2)), [f"patient {row // 4}" for row in range(12)]
    picks = selectors.random(rows, 6, groups=patients, seed=4).picks
    assert sorted(row // 4 for row in picks[:3]) == sorted(row // 4 for row in picks[3:]) == [0, 1, 2]


def test_foreground_random_is_random_among_images_that_show_something() -> None:
    shown = np.array([0.2, 0.0, 0.1, 0.9, 0.0, 0.3, 0.4])
    rows = np.zeros((7, 1))
    everywhere = selectors.foreground_random(rows, 5, foreground=np.ones(7), labelled=[2], seed=4)
    assert everywhere.picks.tolist() == selectors.random(rows, 5, labelled=[2], seed=4).picks.tolist()
    firsts = np.zeros(7)
    for seed in range(2000):
        picks = selectors.foreground_random(rows, 6, foreground=shown, labelled=[2], seed=seed).picks
        assert sorted(picks[:4]) == [0, 3, 5, 6] and sorted(picks[4:]) == [1, 4], "the empty ones come last"
        firsts[picks[0]] += 1
    assert firsts[[0, 3, 5, 6]] / 2000 == pytest.approx(np.full(4, 0.25), abs=0.04)
