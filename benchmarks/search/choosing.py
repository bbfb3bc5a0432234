"""The order in which a method has images of a pool labelled."""

from __future__ import annotations

import numpy as np

from benchmarks.experiments.truth import truth_order
from benchmarks.search.data import SearchData
from benchmarks.search.plans import NONE, POSITION, Arm
from infers.instant.cache import CoarseBlock
from infers.instant.head import Head
from infers.instant.judging import judge_pool
from strategies.refresh.projection import project
from strategies.selectors.numerics.components import COUNT, principal_components
from strategies.selectors.numerics.distances import unit_rows
from strategies.selectors.registry import METHODS, Method, Round
from strategies.selectors.uherding import CALIBRATED

EACH = 8  # labels up to which a head is fitted after each one; from there on after every second
PERPLEXITY = 30.0  # the app's default


def choose(
    data: SearchData, rows: np.ndarray, arm: Arm, classes: list[int], budget: int, seed: int
) -> np.ndarray:
    """Return the rows of the pool (budget,) that are labelled, in their order.

    :param rows: the pool's rows
    """
    groups = [data.patients[row] for row in rows] if arm.groups else None
    if arm.truth is not None:
        return rows[truth_order(data.shows[rows], arm.truth, budget, seed)]
    method = METHODS[arm.select]
    points = points_of(vectors_of(data, rows, arm.features, seed), method, seed)
    if method.each_label:
        return _one_by_one(data, rows, points, (arm, classes, budget, seed))
    more = method.arguments(Round()) | arm.parameters
    return rows[method.select(points, budget, groups=groups, seed=seed, **more).picks]


def vectors_of(data: SearchData, rows: np.ndarray, features: str, seed: int) -> np.ndarray:
    """Return the vectors (rows, D) that an arm names. Raises ValueError for positions that are not known."""
    if features == NONE:
        return np.random.default_rng(seed).normal(size=(len(rows), COUNT))
    if features == POSITION:
        if data.position is None:
            raise ValueError("features: position, but the images are not slices of volumes")
        return data.position[rows, None]
    return data.others[features][rows] if features else data.vectors[rows]


def points_of(vectors: np.ndarray, method: Method, seed: int) -> np.ndarray:
    """Return what the method compares images by, as its plans do."""
    if "map" in method.needs:
        return project(vectors, "tsne", PERPLEXITY, seed)
    points = unit_rows(vectors) if "unit_features" in method.needs else vectors
    return principal_components(points) if method.components else points


def _one_by_one(
    data: SearchData, rows: np.ndarray, points: np.ndarray, how: tuple[Arm, list[int], int, int]
) -> np.ndarray:
    """Plan anew after each label, as `auto` does."""
    arm, classes, budget, seed = how
    method, block = METHODS[arm.select], data.coarse(rows) if arm.heads else None
    groups = [data.patients[row] for row in rows] if arm.groups else None
    chosen: list[int] = []
    head: Head | None = None
    for _ in range(budget):
        columns = columns_of(method, head, block, data, rows, chosen)
        if not arm.positions:
            columns.pop("position", None)
        roles = {"labelled": chosen, "picked": chosen, "groups": groups, "seed": seed}
        picks = method.select(points, 1, **roles, **columns, **arm.parameters).picks
        chosen.append(int(picks[0]))
        count = len(chosen)
        needs_head = arm.heads and ("foreground" in method.needs or count >= CALIBRATED)
        if needs_head and count < budget and (count <= EACH or count % 2 == 0):
            head = data.head(rows[chosen], classes, seed)
    return rows[chosen]


def columns_of(
    method: Method,
    head: Head | None,
    block: CoarseBlock | None,
    data: SearchData,
    rows: np.ndarray,
    chosen: list[int],
) -> dict[str, np.ndarray]:
    """Return the head's scores of all rows, as the app gives them to the method."""
    unsure, shows = np.ones(len(rows)), np.full(len(rows), 0.5)
    if head is not None and block is not None:
        judged = [judgement for _, judgement in judge_pool(head, [block])]
        unsure = np.array([one.foreground_entropy or one.entropy for one in judged])
        shows = np.array([one.anything for one in judged])
    shows[chosen] = data.shows[rows[chosen]]
    columns = {"uncertainty": unsure, "foreground": shows}
    columns = {name: values for name, values in columns.items() if name in method.needs}
    if "foreground" in method.needs and data.position is not None:
        columns["position"] = data.position[rows]
    return columns
