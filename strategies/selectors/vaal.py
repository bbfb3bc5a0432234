"""The rows that a discriminator takes most surely for unlabelled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strategies.selectors.registry import CSAL, method
from strategies.selectors.rules.availability import in_turns
from strategies.selectors.rules.checks import Groups, RowNumbers, check_budget, check_points, check_rows
from strategies.selectors.rules.selection import Selection


@method(
    "vaal",
    paper="Sinha et al., ICCV 2019; " + CSAL,
    needs="unit_features",
    text="The images that a discriminator takes most surely for unlabelled, unlike those labelled",
    reason={
        "unlike labelled": "A discriminator takes it for unlabelled with probability {probability:.3f}.",
        "hard to encode": "No label to compare with yet: an autoencoder does worst on it (loss {loss:.3g}).",
    },
    each_model=True,
    appends=True,
)
def vaal(
    features: npt.ArrayLike,
    budget: int,
    *,
    labelled: RowNumbers = (),
    candidates: RowNumbers | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Selection:
    """Pick the rows that a discriminator takes most surely for unlabelled.

    Variational adversarial active learning, Sinha, Ebrahimi and Darrell, ICCV 2019; see
    `docs/selection.md`. A variational autoencoder learns to encode all rows such that a discriminator of its
    latent means takes them for labelled, while the discriminator learns to tell labelled from unlabelled rows
    (`numerics.adversary`).

    Without labelled rows the autoencoder is trained alone, and the rows with its highest loss are picked.
    This is the VAE sampling of Chandra et al., "On initial pools for deep active learning" (PMLR 148, 2021),
    which CSAL-3D cites for VAAL in its cold-start comparison.

    The paper encodes images by convolutions; here features are encoded. A larger budget only appends picks;
    ties go to the lowest row.

    Args:
        features: (N, D); their scale and origin do not matter.
        budget, labelled, candidates, groups: as in `random`. All unlabelled rows are trained on.
        seed: seed of the networks and batches, at least 0.

    Returns:
        Evidence: `role` ("unlike labelled", or without labelled rows "hard to encode"), `score` that picks
        are ordered by, `probability` of being unlabelled (1 without labelled rows) and `loss` of the
        autoencoder.

    Raises:
        ValueError: invalid features, budget, groups or row numbers (see `checks`).
    """
    array = check_points(features)
    rows = check_rows(len(array), labelled, candidates, groups)
    count, has_labels = min(check_budget(budget), len(rows.candidates)), len(rows.labelled) > 0
    logit, loss = np.zeros(len(array)), np.zeros(len(array))
    if count:
        from strategies.selectors.numerics.adversary import play  # imports PyTorch

        logit, loss = play(array, rows.labelled, rows.unlabelled, seed)
    score = logit if has_labels else loss
    order = rows.candidates[np.argsort(-score[rows.candidates], kind="stable")]
    picks = in_turns(order, rows.groups)[:count]
    probability = 1 / (1 + np.exp(-logit[picks])) if has_labels else np.ones(count)
    evidence = {
        "role": np.full(count, "unlike labelled" if has_labels else "hard to encode"),
        "score": score[picks],
        "probability": probability,
        "loss": loss[picks],
    }
    return Selection(picks, evidence)
