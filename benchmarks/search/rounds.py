"""Labels chosen in rounds: a cold start, then images by the scores of a head fitted anew in each round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.search.choosing import choose, columns_of, points_of, vectors_of
from benchmarks.search.data import SearchData
from benchmarks.search.plans import Arm
from infers.instant.cache import CoarseBlock
from infers.instant.head import Head, entropy, mean_entropies
from strategies.selectors.numerics.class_entropy import class_entropies
from strategies.selectors.registry import METHODS, Method, Round

BOOTSTRAPS = 5  # heads whose disagreement is BALD


def choose_in_rounds(
    data: SearchData, rows: np.ndarray, arm: Arm, classes: list[int], budget: int, seeds: tuple[int, int]
) -> np.ndarray:
    """Return the rows of the pool (budget,) that are labelled, in their order.

    :param rows: the pool's rows
    :param arm: one with rounds
    :param seeds: of the cold start, and of the rounds
    """
    rounds = arm.rounds
    if rounds is None:
        raise ValueError(f"{arm.name} has no rounds")
    cold = choose(data, rows, replace(arm, rounds=None), classes, rounds.start, seeds[0])
    chosen = [int(np.flatnonzero(rows == row)[0]) for row in cold]
    method, pool = METHODS[rounds.select], _Pool(data, rows, data.coarse(rows), classes, seeds[0])
    points = points_of(vectors_of(data, rows, arm.features, seeds[0]), method, seeds[0])
    groups = [data.patients[row] for row in rows] if arm.groups else None
    number = 0
    while len(chosen) < budget:
        number += 1
        more = method.arguments(Round(number)) | rounds.parameters
        columns = pool.scores(chosen, method, rounds.uncertainty) if method.values else {}
        picked = {"picked": chosen} if method.each_label else {}
        roles = {"labelled": chosen, "groups": groups, "seed": seeds[1] + number}
        count = min(rounds.size, budget - len(chosen))
        chosen += method.select(points, count, **roles, **picked, **columns, **more).picks.tolist()
    return rows[chosen]


@dataclass(frozen=True)
class _Pool:
    """A pool that heads judge, with their classes and seed."""

    data: SearchData
    rows: np.ndarray
    block: CoarseBlock
    classes: list[int]
    seed: int

    def scores(self, chosen: list[int], method: Method, uncertainty: str) -> dict[str, np.ndarray]:
        """Return the values of all images that a method needs, by a head fitted on the chosen ones."""
        head = self.data.head(self.rows[chosen], self.classes, self.seed, method.from_head)
        if method.from_head:
            return columns_of(method, head, self.block, self.data, self.rows, chosen)
        shares, values = head.predict(self.block.features), dict[str, np.ndarray]()
        if "class_entropy" in method.needs:
            values["class_entropy"] = np.stack([class_entropies(np.moveaxis(p, -1, 0)) for p in shares])
        if "uncertainty" in method.needs:
            of_heads = uncertainty == "bald"
            values["uncertainty"] = (
                bald(self._bootstraps(chosen), self.block) if of_heads else _entropies(shares, uncertainty)
            )
        if "foreground" in method.needs:
            values["foreground"] = (shares.argmax(axis=-1) > 0).mean(axis=(1, 2))
        return values

    def _bootstraps(self, chosen: list[int]) -> list[Head]:
        """Fit heads on labels drawn with replacement."""
        drawn = np.random.default_rng(self.seed).choice(chosen, (BOOTSTRAPS, len(chosen)))
        return [
            self.data.head(self.rows[part], self.classes, self.seed + member, False)
            for member, part in enumerate(drawn)
        ]


def _entropies(shares: np.ndarray, uncertainty: str) -> np.ndarray:
    """Return each image's mean entropy (N,): of all places, or of likely ones where there are any."""
    pairs = [mean_entropies(*pair) for pair in zip(shares, entropy(shares), strict=True)]
    return np.array([(likely or all_) if uncertainty == "likely entropy" else all_ for all_, likely in pairs])


def bald(heads: Sequence[Head], block: CoarseBlock) -> np.ndarray:
    """Return each image's mean mutual information of prediction and head (N,), in nats.

    BALD, Houlsby et al., arXiv 1112.5745: the entropy of the heads' mean prediction less their mean entropy.
    """
    shares = np.stack([head.predict(block.features) for head in heads])
    own = np.mean([entropy(part) for part in shares], axis=0)
    information: np.ndarray = (entropy(shares.mean(axis=0)) - own).mean(axis=(1, 2))
    return information.clip(0)
