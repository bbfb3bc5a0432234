"""Projection of features to the map used for selection (arXiv 2601.18532, section 3.1.2).

Also places new images on an existing map without moving its points.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from openTSNE import TSNE, TSNEEmbedding
from openTSNE.affinity import Affinities, joint_probabilities_nn
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

MIN_IMAGES = 5  # needed for t-SNE
_PCA_COMPONENTS = 50  # input of t-SNE
_MIN_INTERPOLATED = 10_000  # images from which interpolation beats a tree, as in openTSNE


def _components(features: np.ndarray, count: int, seed: int) -> PCA:
    return PCA(n_components=min(count, *features.shape), random_state=seed)


def _is_flat(features: np.ndarray, method: str) -> bool:
    """Return True if these features are mapped by their first two principal components."""
    return method == "pca" or len(features) < MIN_IMAGES or _spread(features) == 0


def _spread(features: np.ndarray) -> float:
    return float(np.ptp(features, axis=0).max()) if len(features) else 0.0


def _perplexity(perplexity: float, count: int) -> float:
    return min(perplexity, (count - 1) / 3)


def project(features: np.ndarray, method: str, perplexity: float, seed: int) -> np.ndarray:
    """Project features (N, D) to points (N, 2); `none` returns the features unchanged.

    t-SNE: PCA to 50 components first, perplexity at most (N - 1) / 3, PCA initialisation, automatic learning
    rate. Fewer than five images, or identical ones, are mapped by their first two principal components.
    """
    if method == "none":
        return features
    if _is_flat(features, method):
        points = np.zeros((len(features), 2))
        if _spread(features) > 0:
            components = _components(features, 2, seed).fit_transform(features)
            points[:, : components.shape[1]] = components
        return points
    if features.shape[1] > _PCA_COMPONENTS:
        features = _components(features, _PCA_COMPONENTS, seed).fit_transform(features)
    tsne = TSNE(
        perplexity=_perplexity(perplexity, len(features)),
        initialization="pca",
        learning_rate="auto",
        random_state=seed,
        n_jobs=1,
    )  # one thread, for reproducibility
    return np.asarray(tsne.fit(features), dtype=np.float64)


def place(
    known_features: np.ndarray,
    known_points: np.ndarray,
    new_features: np.ndarray,
    method: str,
    perplexity: float,
    seed: int,
) -> np.ndarray:
    """Place new images on a map made by `project`: points (M, 2); with `none` their features.

    :param known_features: (N, D) of images on the map; their `known_points` (N, 2) never move
    :param new_features: (M, D)

    t-SNE: PCA as fitted on the known features, then openTSNE's transform: each new image starts at the median
    of its nearest known ones and is moved by them alone, independently of other new images (Policar et al.,
    "Embedding to reference t-SNE space addresses batch effects", Machine Learning 112, 2023).
    """
    if method == "none":
        return new_features
    if _is_flat(known_features, method):
        points = np.zeros((len(new_features), 2))
        if _spread(known_features) > 0:
            components = _components(known_features, 2, seed).fit(known_features).transform(new_features)
            points[:, : components.shape[1]] = components
        return points
    if known_features.shape[1] > _PCA_COMPONENTS:
        pca = _components(known_features, _PCA_COMPONENTS, seed).fit(known_features)
        known_features, new_features = pca.transform(known_features), pca.transform(new_features)
    embedding = TSNEEmbedding(  # copies the points
        known_points,
        _ToKnown(known_features),
        negative_gradient_method="bh" if len(known_points) < _MIN_INTERPOLATED else "fft",
        random_state=seed,
        n_jobs=1,
    )
    middle = (known_points.max(axis=0) + known_points.min(axis=0)) / 2  # transform moves the origin here
    placed = embedding.transform(new_features, perplexity=_perplexity(perplexity, len(known_points)))
    return np.asarray(placed, dtype=np.float64) + middle


class _ToKnown(Affinities):
    """Affinities of new rows to known ones, from exact neighbours.

    openTSNE's own class would also compute those between all known rows, which placing does not need: minutes
    on a large map.
    """

    def __init__(self, known: np.ndarray) -> None:
        super().__init__()
        self.P = scipy.sparse.csr_matrix((len(known), len(known)))  # only its shape is used
        self._known = known

    def to_new(self, data: np.ndarray, perplexity: float = 30, return_distances: bool = False) -> Any:
        """Return affinities (M, N), on request with neighbours and distances (M, 3 * perplexity)."""
        nearest = NearestNeighbors(n_neighbors=max(1, int(3 * perplexity)), n_jobs=1).fit(self._known)
        distances, neighbours = nearest.kneighbors(data)
        affinities = joint_probabilities_nn(
            neighbours,
            distances,
            [perplexity],
            symmetrize=False,
            normalization="point-wise",
            n_reference_samples=len(self._known),
        )
        return (affinities, neighbours, distances) if return_distances else affinities
