"""Agreement of two models on uncertain images, and the diversity weight derived from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.rules.checks import check_alpha, check_entropy

MIN_IMAGES = 10  # fewer make a rank correlation meaningless


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return Spearman's rank correlation of two (N,) arrays; 0 if either is constant or empty."""
    from scipy.stats import rankdata  # slow to import

    a, b = rankdata(first), rankdata(second)
    if len(a) == 0:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float(np.clip((a * b).sum() / size, -1.0, 1.0)) if size > 0 else 0.0


def adaptive_alpha(now: npt.ArrayLike, before: npt.ArrayLike, prior: float) -> tuple[float, float | None]:
    """Return alpha for `active`: 1 - max(0, Spearman correlation with the previous model's entropies).

    If two successive models rank the images alike, their entropies can be trusted (alpha near 0); if they
    disagree, the entropies are noise and diversity decides (alpha near 1). Levy et al., arXiv 2601.18532,
    leave the choice of alpha over the rounds open; the rule is ours.
    See `docs/selection.md`.

    Args:
        now, before: (N,) entropies of the same images by this model and the previous one.
        prior: alpha to use with fewer than 10 images in common.

    Returns:
        alpha in [0, 1], and the correlation, None if `prior` was used.

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
