"""How far two models agree on what is uncertain, and the weight of diversity that follows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from strategies.selectors.rules.checks import check_alpha, check_entropy

MIN_IMAGES = 10  # images below which a rank correlation says nothing


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Spearman's rank correlation of two (N,) arrays; 0 where one of both is constant or empty."""
    a, b = rankdata(first), rankdata(second)
    if len(a) == 0:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float(np.clip((a * b).sum() / size, -1.0, 1.0)) if size > 0 else 0.0


def adaptive_alpha(now: npt.ArrayLike, before: npt.ArrayLike, prior: float) -> tuple[float, float | None]:
    """alpha of `active` for a model: 1 - max(0, Spearman correlation with the entropies of the model before).

    Two successive models that order the images alike have learnt what is uncertain, so that entropy can be
    trusted (alpha near 0); when they do not agree, their entropies are noise, and diversity decides (alpha
    near 1). Levy et al., arXiv 2601.18532, leave the choice of alpha over the rounds open; the rule is ours.
    See `docs/selection.md`.

    Args:
        now, before: (N,) entropies of the same images by this model and by the one before.
        prior: alpha where nothing is known: fewer than 10 images in common.

    Returns:
        alpha in [0, 1], and the correlation, None where `prior` was taken.

    Raises:
        ValueError: entropies of different length or not finite, or `prior` outside [0, 1].
    """
    values = np.asarray(now, dtype=np.float64)
    rows = np.arange(len(values))
    values = check_entropy(values, rows, len(rows))
    earlier = check_entropy(before, rows, len(rows), "earlier entropy")
    weight = check_alpha(prior)
    if len(rows) < MIN_IMAGES:
        return weight, None
    agreement = spearman(values, earlier)
    return 1.0 - max(0.0, agreement), agreement
