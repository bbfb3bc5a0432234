"""The map that selection happens on: features in, points out (arXiv 2601.18532, section 3.1.2)."""

from __future__ import annotations

import numpy as np
from openTSNE import TSNE
from sklearn.decomposition import PCA

_FIRST = 50  # principal components that t-SNE starts from


def _components(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    count = min(count, *features.shape)
    return PCA(n_components=count, random_state=seed).fit_transform(features)


def project(features: np.ndarray, method: str, perplexity: float, seed: int) -> np.ndarray:
    """Features (N, D) become points (N, 2), or stay as they are with `none`.

    t-SNE: PCA to 50 first, perplexity at most (N - 1) / 3, PCA initialisation, automatic learning rate. Fewer
    than five images, or images that are all alike, are mapped by their first two principal components.
    """
    if method == "none":
        return features
    spread = np.ptp(features, axis=0).max() if len(features) else 0.0
    if method == "pca" or len(features) < 5 or spread == 0:
        points = np.zeros((len(features), 2))
        if len(features) > 1 and spread > 0:
            found = _components(features, 2, seed)
            points[:, : found.shape[1]] = found
        return points
    if features.shape[1] > _FIRST:
        features = _components(features, _FIRST, seed)
    tsne = TSNE(
        perplexity=min(perplexity, (len(features) - 1) / 3),
        initialization="pca",
        learning_rate="auto",
        random_state=seed,
        n_jobs=1,
    )  # one thread: the same map every time
    return np.asarray(tsne.fit(features), dtype=np.float64)
