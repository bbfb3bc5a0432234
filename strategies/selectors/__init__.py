"""Selection methods as pure functions: arrays in, picks out.

One file per method. Nothing here reads files, knows a server or keeps state: the same input and seed give
the same picks. Rows are images. Every selector returns a `Selection`: the picks in hand-out order, with the
numbers that explain each pick. `docs/selection.md` restates the rules; the main method is Levy et al.,
"From Cold Start to Active Learning", arXiv 2601.18532.

    >>> import numpy as np
    >>> from strategies.selectors import active, cluster_by_silhouette, cold_start
    >>> points = np.random.default_rng(0).normal(size=(40, 2))
    >>> clusters = cluster_by_silhouette(points, max_clusters=6, seed=42)
    >>> first = cold_start(points, clusters.labels, budget=6)
    >>> uncertainty = np.linspace(0.1, 0.6, 40)
    >>> second = active(points, uncertainty, budget=4, alpha=0.3, labelled=first.picks)
    >>> len(first.picks), len(second.picks)
    (6, 4)
"""

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
from strategies.selectors.foreground_cover import foreground_cover
from strategies.selectors.foreground_random import foreground_random
from strategies.selectors.foreground_uherding import foreground_uherding
from strategies.selectors.kmeans_to_budget import kmeans_to_budget
from strategies.selectors.maxherding import maxherding
from strategies.selectors.numerics.agreement import adaptive_alpha
from strategies.selectors.numerics.class_entropy import class_entropies
from strategies.selectors.numerics.cluster import Clustering, cluster_by_silhouette
from strategies.selectors.numerics.diameter import diameter
from strategies.selectors.numerics.mean_entropy import mean_entropy
from strategies.selectors.numerics.medoid import medoid
from strategies.selectors.numerics.silhouette_null import silhouette_null
from strategies.selectors.probcover import probcover
from strategies.selectors.random_order import random
from strategies.selectors.registry import find_methods
from strategies.selectors.rules.allocate import allocate
from strategies.selectors.rules.selection import Selection
from strategies.selectors.tail_cover import tail_cover
from strategies.selectors.typiclust import typiclust
from strategies.selectors.uherding import uherding
from strategies.selectors.urds import urds, urds_diversity_only, urds_uncertainty_only
from strategies.selectors.usl import usl
from strategies.selectors.usl_t import usl_t
from strategies.selectors.vaal import vaal

__all__ = [
    "Clustering",
    "Selection",
    "active",
    "adaptive_alpha",
    "allocate",
    "alps",
    "calr",
    "clasp_pe",
    "class_entropies",
    "clfps",
    "cluster_by_silhouette",
    "cold_start",
    "cscs",
    "diameter",
    "diversity",
    "entropy",
    "farthest_first",
    "foreground_active",
    "foreground_cover",
    "foreground_random",
    "foreground_uherding",
    "kmeans_to_budget",
    "maxherding",
    "mean_entropy",
    "medoid",
    "probcover",
    "random",
    "silhouette_null",
    "tail_cover",
    "typiclust",
    "uherding",
    "urds",
    "urds_diversity_only",
    "urds_uncertainty_only",
    "usl",
    "usl_t",
    "vaal",
]

find_methods(__name__, __path__)
