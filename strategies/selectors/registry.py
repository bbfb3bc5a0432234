"""Registry of selection methods: description, inputs, and how each explains its picks.

To add a method: one file in this package, one entry here, and one row in `docs/selection.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from strategies.selectors.active import active
from strategies.selectors.alps import alps
from strategies.selectors.calr import calr
from strategies.selectors.clasp_pe import clasp_pe
from strategies.selectors.clfps import clfps
from strategies.selectors.cold_start import cold_start
from strategies.selectors.cscs import cscs
from strategies.selectors.diversity import diversity
from strategies.selectors.entropy import entropy
from strategies.selectors.farthest_first import farthest_first
from strategies.selectors.foreground_active import foreground_active
from strategies.selectors.foreground_random import foreground_random
from strategies.selectors.kmeans_to_budget import kmeans_to_budget
from strategies.selectors.numerics.cluster import cluster_by_silhouette
from strategies.selectors.probcover import probcover
from strategies.selectors.random_order import random
from strategies.selectors.rules.checks import Groups, RowNumbers, check_points, check_rows
from strategies.selectors.rules.selection import Selection
from strategies.selectors.typiclust import typiclust
from strategies.selectors.urds import urds, urds_diversity_only, urds_uncertainty_only
from strategies.selectors.usl import usl

LEVY = "arXiv 2601.18532"
CSAL = "CSAL-3D, MICCAI 2025"
_CENTRAL_REASON = "It is nearest to the mean of all images; there is none yet to be far from."
NEEDS = ("features", "unit_features", "map", "uncertainty", "model", "class_entropy", "foreground")


@dataclass(frozen=True)
class Method:
    """A selection method.

    :param select: called as select(points, budget, labelled=..., candidates=..., groups=..., seed=...),
        plus one value per row for each of uncertainty, class_entropy and foreground that it needs, by name
    :param needs: names from NEEDS. Points are the encoder's features, unit-length features, or the map;
        without any of these three, only their number matters. `uncertainty` is the model's entropy if the
        method needs a `model`, else that of CSAL-3D's reconstructions.
    :param cold: works before there is a model
    :param text: one line for the client's list
    :param reason: template of the reason for a pick, with names of the evidence in braces
    :param deterministic: without `labels=`, the order of rows only breaks ties
    """

    select: Callable[..., Selection]
    paper: str
    needs: frozenset[str]
    cold: bool
    text: str
    reason: str
    deterministic: bool = False

    def explain(self, evidence: Mapping[str, Any]) -> str:
        """Return the reason for one pick; clusters are numbered from 1 for people."""
        values = dict(evidence)
        if "cluster" in values:
            values["cluster"] += 1
        sentence = (_CENTRAL_REASON if values.get("role") == "central" else self.reason).format(**values)
        return sentence[:1].upper() + sentence[1:]

    @property
    def values(self) -> list[str]:
        """Names of the arguments of `select` with one value per row."""
        return sorted(self.needs & {"uncertainty", "class_entropy", "foreground"})


def _cold_start(
    points: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
    labels: npt.ArrayLike | None = None,
) -> Selection:
    """Run `cold_start` with its clustering, on the candidates only."""
    array = check_points(points)
    rows = check_rows(len(array), labelled, candidates).candidates
    if labels is None:
        labels = np.zeros(len(array), dtype=np.int64)
        labels[rows] = cluster_by_silhouette(array[rows], budget, seed).labels
    return cold_start(array, labels, budget, candidates=rows, groups=groups)


def _by_entropy(select: Callable[..., Selection]) -> Callable[..., Selection]:
    def run(points: npt.ArrayLike, budget: int, *, uncertainty: npt.ArrayLike, **arguments: Any) -> Selection:
        arguments.pop("seed", None)  # the rule is deterministic
        return select(points, uncertainty, budget, **arguments)

    return run


def _method(
    select: Callable[..., Selection],
    paper: str,
    needs: str,
    text: str,
    reason: str,
    deterministic: bool = False,
) -> Method:
    inputs = frozenset(needs.split())
    return Method(select, paper, inputs, "model" not in inputs, text, reason, deterministic)


_UNSURE = "The model is unsure about it (entropy {raw_entropy:.3f} nats)"
_CLUSTER = "cluster {cluster} of {cluster_size} images"

METHODS: dict[str, Method] = {
    "random": _method(random, LEVY, "", "Random images, seeded", "Chosen at random."),
    "cold_start": _method(
        _cold_start,
        LEVY,
        "map",
        "The cold-start plan: typical and diverse images of every cluster",
        "{role} of cluster {cluster}, {distance:.2f} on the map from those picked in it before.",
    ),
    "active": _method(
        _by_entropy(active),
        LEVY,
        "map uncertainty model",
        "Entropy of the newest model combined with distance on the map",
        _UNSURE + " and it lies {distance:.2f} of the map's width from labelled images.",
        deterministic=True,
    ),
    "entropy": _method(
        _by_entropy(entropy),
        LEVY,
        "map uncertainty model",
        "The most uncertain images of the newest model",
        _UNSURE + ".",
        deterministic=True,
    ),
    "diversity": _method(
        _by_entropy(diversity),
        LEVY,
        "map uncertainty model",
        "The most uncertain image, then the farthest on the map",
        "It lies {distance:.2f} of the map's width from labelled images.",
        deterministic=True,
    ),
    "kmeans_to_budget": _method(
        kmeans_to_budget,
        "Yuan et al., EMNLP 2020; " + LEVY,
        "features",
        "As many k-means clusters as picks, the medoid of each",
        "{role} of " + _CLUSTER + " (mean distance to them {distance:.3g}).",
    ),
    "alps": _method(
        alps,
        "Yuan et al., EMNLP 2020; " + CSAL,
        "features",
        "As many k-means clusters as picks, the image nearest to each centre",
        "{role} of " + _CLUSTER + " ({distance:.3g} from its centre).",
    ),
    "calr": _method(
        calr,
        "Jin et al., Information Sciences 616, 2022; " + CSAL,
        "features",
        "Agglomerative clusters, the image with the highest information density in each",
        "{role} of " + _CLUSTER + " (mean cosine similarity to them {density:.3f}).",
    ),
    "typiclust": _method(
        typiclust,
        "Hacohen et al., ICML 2022; " + CSAL,
        "features",
        "The most typical image of each large cluster without labels",
        "{role} in " + _CLUSTER + ", {labelled_in_cluster} of them labelled (typicality {typicality:.3g}).",
    ),
    "farthest_first": _method(
        farthest_first,
        "Sener and Savarese, ICLR 2018 (k-center greedy); " + CSAL,
        "features",
        "Farthest-first, also called k-center greedy: always what is least like all picked so far",
        "{distance:.3g} from the nearest image labelled or picked before: no other is that far.",
        deterministic=True,
    ),
    "clfps": _method(
        clfps,
        "Jin et al., Knowledge-Based Systems 241, 2022; " + CSAL,
        "features",
        "Farthest-first by angle, for features of contrastive training",
        "{angle:.1f} degrees from the nearest image labelled or picked before: no other is that far.",
        deterministic=True,
    ),
    "probcover": _method(
        probcover,
        "Yehuda et al., NeurIPS 2022; " + CSAL,
        "features",
        "Balls of equal size that cover as many images as possible",
        "Its ball of radius {delta:.3g} covers {covers} images that no other does; with it {covered:.0%} are "
        "covered.",
    ),
    "urds": _method(
        urds,
        CSAL,
        "features uncertainty",
        "Of the three most typical images of each cluster the one reconstructed worst (CSAL-3D)",
        "{role}: number {typicality_rank} by typicality in " + _CLUSTER + ", and the most uncertain of the "
        "first ones there ({uncertainty:.3g}).",
    ),
    "urds_uncertainty_only": _method(
        urds_uncertainty_only,
        CSAL,
        "uncertainty",
        "The images reconstructed worst: CSAL-3D without diversity",
        "Its reconstructions disagree most (uncertainty {uncertainty:.3g}).",
        deterministic=True,
    ),
    "urds_diversity_only": _method(
        urds_diversity_only,
        CSAL,
        "features",
        "The most typical image of each cluster: CSAL-3D without uncertainty",
        "{role} in " + _CLUSTER + " (typicality {typicality:.3g}).",
    ),
    "usl": _method(
        usl,
        "Wang et al., ECCV 2022; " + CSAL,
        "unit_features",
        "Dense images of each cluster, kept apart from each other",
        "{role} in " + _CLUSTER + ": density {density:.3g}, less {regularisation:.3g} for nearby picks.",
    ),
    "cscs": _method(
        cscs,
        "arXiv 2606.20765",
        "features uncertainty",
        "Typical and reconstructed badly in each cluster, weighed by how far the two agree",
        "{role} in " + _CLUSTER + ": score {score:.2f} with weight {gamma:.2f} on the uncertainty (both "
        "correlate by {dcr:.2f} over the pool).",
    ),
    "foreground_random": _method(
        foreground_random,
        "nnActive, TMLR 2025",
        "foreground",
        "Random images that show something: by the newest model, before it by a threshold",
        "Chosen at random; {foreground:.1%} of the image is foreground.",
    ),
    "clasp_pe": _method(
        clasp_pe,
        "arXiv 2601.13677",
        "uncertainty class_entropy model",
        "Entropy shared out among the classes, with noise that fades from round to round (ClaSP PE)",
        "Drawn by the entropy of {role} ({class_entropy:.3g} nats), with noise.",
    ),
    "foreground_active": _method(
        foreground_active,
        "ours, after " + LEVY,
        "map uncertainty foreground model",
        "Entropy times predicted foreground, combined with distance on the map: for pools with empty images",
        _UNSURE + ", predicts structures on {foreground:.1%} of it, and it lies {distance:.2f} of the map's "
        "width from labelled images.",
        deterministic=True,
    ),
}
